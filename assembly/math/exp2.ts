import { multiplyAdd } from './vectors'

/*
 * Powers of two. 2^y = 2^n · p(y - n), n = round(y): the difference is exact, and p, of degree 5 with p(0) = 1, is
 * fitted to the least relative error on ±1/2, 9e-8. Adding 1.5 · 2^23 rounds y and leaves n in the low bits. Powers of
 * e are computed as powers of 2 with the exponent scaled by log2 e, which callers fold into a factor they apply anyway.
 * That saves two of sixteen operations over reduction by ln 2 in two parts, and is as accurate where the scaled
 * exponent is rounded anyway (its rounding, 6e-8 · |y|, exceeds all other errors from |y| = 3 on).
 *
 * Constants live in memory and are loaded into locals before a loop: V8 from 13.6 on rebuilds an `f32x4.splat` of a
 * constant at every use, at a fifth of the speed (docs/kernel-pitfalls.md#splat-constants).
 */
// @ts-ignore: decorator
@lazy
export const EXP2: usize = memory.data<f32>(
  [-126.0, 12582912.0, 0.0013264591107144952, 0.009671619161963463, 0.0555073507130146, 0.24022240936756134, 0.6931470036506653, 1.0],
  16,
)

export const LOG2_E: f64 = 1.4426950408889634

/**
 * 2^y of four values from -126 to 0; undefined for others. The constants are `EXP2`'s, each splatted into a local by
 * the caller.
 */
// @ts-ignore: decorator
@inline
export function exp2InRange(y: v128, magic: v128, p5: v128, p4: v128, p3: v128, p2: v128, p1: v128, one: v128): v128 {
  const shifted = f32x4.add(y, magic)
  const r = f32x4.sub(y, f32x4.sub(shifted, magic))
  let p = multiplyAdd(p5, r, p4)
  p = multiplyAdd(p, r, p3)
  p = multiplyAdd(p, r, p2)
  p = multiplyAdd(p, r, p1)
  p = multiplyAdd(p, r, one)
  return i32x4.add(p, i32x4.shl(shifted, 23))
}

/**
 * 2^y of four values up to 0; +0 below -126 (and for NaN), where the result would be subnormal. Constants as for
 * `exp2InRange`.
 */
// @ts-ignore: decorator
@inline
export function exp2Vector(y: v128, low: v128, magic: v128, p5: v128, p4: v128, p3: v128, p2: v128, p1: v128, one: v128): v128 {
  // A pseudo-maximum is a single instruction; for NaN it returns the bound, which is masked
  return v128.and(exp2InRange(f32x4.pmax(low, y), magic, p5, p4, p3, p2, p1, one), f32x4.ge(y, low))
}

/** 2^y of a few values up to 0, outside hot loops. */
export function exp2Lanes(y: v128): v128 {
  return exp2Vector(
    y,
    v128.load32_splat(EXP2),
    v128.load32_splat(EXP2, 4),
    v128.load32_splat(EXP2, 8),
    v128.load32_splat(EXP2, 12),
    v128.load32_splat(EXP2, 16),
    v128.load32_splat(EXP2, 20),
    v128.load32_splat(EXP2, 24),
    v128.load32_splat(EXP2, 28),
  )
}
