/*
 * Enums whose values appear in words of ops and of the dispatch header.
 */

/** Storage formats of weights. Float16 weights contain no infinities or NaNs. */
export enum WeightFormat {
  Float32,
  Float16,
  Bfloat16,
}

/**
 * Tile shapes for products of four or more rows (`assembly/kernels/tile-shapes.ts`). All give the same bits, and each is
 * the fastest on some engine: V8 before 13 without unrolling k, later V8 and Deno with k unrolled by four; engines that
 * check every bound (Deno) or have more registers (Bun) with few rows of many columns. `Gemm6x16` pays off only if the
 * engine combines pairs of 128-bit operations into 256-bit ones.
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
  /** Copies rows. */
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
