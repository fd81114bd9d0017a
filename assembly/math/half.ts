/* Conversions of 16-bit floats. */

/**
 * A float16, sign-extended and shifted to float32's bit positions, keeps this mask's bits; they then represent the
 * value times 2^-112, subnormal or not (except infinity and NaN), and multiplying by 2^112 undoes that exactly. The
 * third constant masks the upper halves of eight float16 values.
 */
// @ts-ignore: decorator
@lazy
export const FLOAT16_BITS: usize = memory.data<u32>([0x8fffe000, 0x77800000, 0x8fff8fff], 16)

/**
 * Converts four sign-extended float16 to float32, exactly; `mask` and `scale` are `FLOAT16_BITS`'s, splatted into locals by the
 * caller.
 */
// @ts-ignore: decorator
@inline
export function widenFloat16(halves: v128, mask: v128, scale: v128): v128 {
  return f32x4.mul(v128.and(i32x4.shl(halves, 13), mask), scale)
}

/** Converts eight float16 to the lower halves of float32's bits, up to `FLOAT16_BITS`'s factor. */
// @ts-ignore: decorator
@inline
export function lowerHalves(halves: v128): v128 {
  return i16x8.shl(halves, 13)
}

/** The same for the upper halves; `mask` is the third of `FLOAT16_BITS`. */
// @ts-ignore: decorator
@inline
export function upperHalves(halves: v128, mask: v128): v128 {
  return v128.and(i16x8.shr_s(halves, 3), mask)
}

/** The first four of eight values whose bits are split into halves. */
// @ts-ignore: decorator
@inline
export function interleaveFirst(lower: v128, upper: v128): v128 {
  return v128.shuffle<i16>(lower, upper, 0, 8, 1, 9, 2, 10, 3, 11)
}

/** The last four. */
// @ts-ignore: decorator
@inline
export function interleaveLast(lower: v128, upper: v128): v128 {
  return v128.shuffle<i16>(lower, upper, 4, 12, 5, 13, 6, 14, 7, 15)
}

/** Converts four zero-extended bfloat16 to float32: the upper half of its bits. */
// @ts-ignore: decorator
@inline
export function widenBfloat16(halves: v128): v128 {
  return i32x4.shl(halves, 16)
}
