/*
 * Sizes that plans and kernels agree on.
 */

/** Rows of the tallest tile in any build; attention scores have room for as many. */
export const MAX_TILE_ROWS = 6

/** Bytes of the histogram at the start of a selection's working memory. */
export const HISTOGRAM_BYTES = 1024

/**
 * Bytes of workspace per partition: 256 rows of a panel group (32 columns), widened to float32.
 */
export const WORKSPACE_BYTES = 32768

/**
 * Most columns of int8 weights whose products with 14-bit activations sum to less than 2^31: 127 · 8191 · 2,064 is the
 * limit.
 */
export const INT32_COLUMNS = 2048
