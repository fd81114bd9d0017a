/*
 * Vector arithmetic shared by all kernels. The builds differ only in whether `multiplyAdd` rounds once or twice. It exists
 * only in vector form, since wasm has no scalar fused multiply-add, so every value that a kernel computes with it is
 * computed in vectors, including tails.
 */

// @ts-ignore: decorator
@inline
export function multiplyAdd(a: v128, b: v128, sum: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, sum)
  return f32x4.add(sum, f32x4.mul(a, b))
}

/**
 * To each lane's sum its four products of int8 weights and activations from 0 to 127, exactly: with the eighth bit clear,
 * the relaxed instruction leaves nothing to the engine. The baseline build has no such instruction, and no tile that uses
 * this: what stands for it is for tests.
 */
// @ts-ignore: decorator
@inline
export function addInt8Products(activations: v128, weights: v128, sum: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return i32x4.relaxed_dot_i8x16_i7x16_add_s(weights, activations, sum)
  const first = i32x4.extadd_pairwise_i16x8_s(i16x8.extmul_low_i8x16_s(weights, activations))
  const last = i32x4.extadd_pairwise_i16x8_s(i16x8.extmul_high_i8x16_s(weights, activations))
  return i32x4.add(sum, i32x4.add(v128.shuffle<i32>(first, last, 0, 2, 4, 6), v128.shuffle<i32>(first, last, 1, 3, 5, 7)))
}

/** Two ones of int16. */
// @ts-ignore: decorator
@lazy
export const INT16_ONES: usize = memory.data<u32>([0x00010001], 16)

/**
 * The same by the sums of two products, which fit in int16.
 * @param ones eight, of int16
 */
// @ts-ignore: decorator
@inline
export function addInt8Pairs(activations: v128, weights: v128, sum: v128, ones: v128): v128 {
  if (!ASC_FEATURE_RELAXED_SIMD) return addInt8Products(activations, weights, sum)
  return i32x4.add(sum, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(weights, activations), ones))
}

/** To each lane's sum its two products of int16 values. */
// @ts-ignore: decorator
@inline
export function addInt16Products(activations: v128, weights: v128, sum: v128): v128 {
  return i32x4.add(sum, i32x4.dot_i16x8_s(activations, weights))
}

/** sum - a · b, rounded as `multiplyAdd` is. */
// @ts-ignore: decorator
@inline
export function subtractProduct(sum: v128, a: v128, b: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_nmadd(a, b, sum)
  return f32x4.sub(sum, f32x4.mul(a, b))
}

/** The fixed tree that sums four lanes. */
// @ts-ignore: decorator
@inline
export function sumLanes(v: v128): f32 {
  return f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3))
}

// @ts-ignore: decorator
@inline
export function maxLanes(v: v128): f32 {
  const halves = f32x4.max(v, v128.shuffle<f32>(v, v, 2, 3, 0, 1))
  return f32x4.extract_lane(f32x4.max(halves, v128.shuffle<f32>(halves, halves, 1, 0, 3, 2)), 0)
}

/** Lanes 0 … count - 1 all ones, the others zero; count 0 … 4. */
// @ts-ignore: decorator
@inline
export function laneMask(count: i32): v128 {
  return i32x4.gt_s(i32x4.splat(count), i32x4(0, 1, 2, 3))
}
