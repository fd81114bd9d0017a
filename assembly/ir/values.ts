/*
 * What words of ops and of the dispatch header choose from.
 */

/** How weights lie in memory. Float16 holds no infinity and no NaN. */
export enum WeightFormat {
  Float32,
  Float16,
  Bfloat16,
}

/**
 * How products of four rows or more are cut into tiles (`assembly/kernels/tile-shapes.ts`): all give the same bits, and
 * each is the fastest somewhere. Engines before V8 13 want k one at a time, later ones and Deno four at a time; engines
 * that check every bound (Deno) or have more registers to spare (Bun) do best with few rows of many columns; `Gemm6x16`
 * needs an engine that joins pairs of vector operations to 256-bit ones.
 */
export enum TileShape {
  /** 6 rows (5 unfused) × 8 columns. */
  Gemm6x8,
  Gemm6x8Unrolled,
  /** 2 × 24. */
  Gemm2x24,
  Gemm2x24Unrolled,
  /** 6 (5) × 16, unrolled. */
  Gemm6x16,
  Length,
}

export enum Norm {
  /** Rows are only copied. */
  None,
  /** LayerNorm, eps 1e-5. */
  Layer,
  /** x / max(‖x‖, 1e-12) · √d · gamma. */
  RootMeanSquare,
}

export enum Activation {
  None,
  /** Exact GELU: x · Φ(x). */
  Gelu,
}

export enum Selection {
  CoordinateDescent,
  TopK,
}
