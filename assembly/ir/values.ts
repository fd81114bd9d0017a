/*
 * Enums whose values appear in words of ops and of the dispatch header.
 */

/**
 * Storage formats of weights. Float16 weights contain no infinities or NaNs. Int8 weights are -127 to 127, each output or
 * row with a float32 scale.
 */
export enum WeightFormat {
  Float32,
  Float16,
  Bfloat16,
  Int8,
}

/**
 * How products of int8 weights are computed. Both give the same integers; which is faster depends on the processor
 * (docs/measurements/int8.md), and a row of activations is written for one of them.
 */
export enum IntegerDot {
  /** Two at a time with `i32x4.dot_i16x8_s`: activations are int16, weights are widened. */
  Int16x2,
  /**
   * Four at a time with `i32x4.relaxed_dot_i8x16_i7x16_add_s`: activations are bytes from 0 to 127, 64 more than their
   * value. The sums of the weights, times 64, are subtracted again.
   */
  Int8x4,
  /**
   * The same in two steps, with `i16x8.relaxed_dot_i8x16_i7x16_s` and `i32x4.dot_i16x8_s` by ones: where the former is
   * made up of these, the ones are kept in a register.
   */
  Int8x2x2,
  Length,
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

export enum SelectionAlgorithm {
  CoordinateDescent,
  TopK,
}
