/*
 * Sizes that plans leave room for and kernels rely on.
 */

/** Rows of the tallest tile of any build; scores are planned for as many. */
export const MOST_TILE_ROWS = 6

/** Bytes of the histogram that selection counts in, before its candidates. */
export const HISTOGRAM_BYTES = 1024

/**
 * What a partition may need beside its operands: a block of a group of weights (256 rows of 32 columns) widened to
 * float32.
 */
export const WORKSPACE_BYTES = 32768
