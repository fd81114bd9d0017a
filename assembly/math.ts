/*
 * Arithmetic shared by all kernels. The builds differ only in whether `multiplyAdd` rounds once or twice. It exists
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
function subtractProduct(sum: v128, a: v128, b: v128): v128 {
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

/*
 * Constants live in memory and are loaded into locals before a loop: V8 from 13.6 on rebuilds an `f32x4.splat` of a
 * constant at every use, at a fifth of the speed (docs/kernel-pitfalls.md#splat-constants).
 * 2^y = 2^n · p(y - n), n = round(y): the difference is exact, and p, of degree 5 with p(0) = 1, is fitted to the least
 * relative error on ±1/2, 9e-8. Adding 1.5 · 2^23 rounds y and leaves n in the low bits. Powers of e are computed as
 * powers of 2 with the exponent scaled by log2 e, which callers fold into a factor they apply anyway. That saves two of
 * sixteen operations over reduction by ln 2 in two parts, and is as accurate where the scaled exponent is rounded
 * anyway (its rounding, 6e-8 · |y|, exceeds all other errors from |y| = 3 on).
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

/**
 * log2 erfc(u / √2) = u · q(u) on [0, 6.5], q of degree 8, fitted by weighted least squares to the resulting error in
 * GELU: 1.6e-9, below float32's own rounding. Beyond 6.5 the tail Φ(-u) is below 4.1e-11 and omitted. The last constant
 * is `EXP2`'s 1.5 · 2^23 minus one, which halves the power.
 */
// @ts-ignore: decorator
@lazy
const GELU: usize = memory.data<f32>(
  [
    6.5, -1.151105523109436, -0.45920976996421814, -0.0524740107357502, 0.006996979005634785, -4.675873788073659e-5, -2.50673561562823e-4,
    6.441246659960598e-5, -7.801462743373122e-6, 3.9286950936912035e-7, 12582911.0,
  ],
  16,
)

/**
 * Exact GELU of four values, x · Φ(x) = max(x, 0) - u · Φ(-u), u = |x|, and Φ(-u) = erfc(u / √2) / 2: no cancellation
 * on the negative side. NaN stays NaN. Inlined, so that two calls can execute in parallel.
 */
// @ts-ignore: decorator
@inline
export function geluLanes(x: v128): v128 {
  const size = f32x4.abs(x)
  // beyond the bound, and for NaN, u is 0, so 0 times one half is subtracted
  const u = v128.and(size, f32x4.lt(size, v128.load32_splat(GELU)))
  let q = v128.load32_splat(GELU, 36)
  q = multiplyAdd(q, u, v128.load32_splat(GELU, 32))
  q = multiplyAdd(q, u, v128.load32_splat(GELU, 28))
  q = multiplyAdd(q, u, v128.load32_splat(GELU, 24))
  q = multiplyAdd(q, u, v128.load32_splat(GELU, 20))
  q = multiplyAdd(q, u, v128.load32_splat(GELU, 16))
  q = multiplyAdd(q, u, v128.load32_splat(GELU, 12))
  q = multiplyAdd(q, u, v128.load32_splat(GELU, 8))
  q = multiplyAdd(q, u, v128.load32_splat(GELU, 4))
  // u · q(u) is between -35 and 0
  const half = exp2InRange(
    f32x4.mul(q, u),
    v128.load32_splat(GELU, 40),
    v128.load32_splat(EXP2, 8),
    v128.load32_splat(EXP2, 12),
    v128.load32_splat(EXP2, 16),
    v128.load32_splat(EXP2, 20),
    v128.load32_splat(EXP2, 24),
    v128.load32_splat(EXP2, 28),
  )
  return subtractProduct(f32x4.pmax(x, f32x4.splat(0)), u, half)
}

/**
 * cos and sin of an angle in float64, rounded to float32. Up to `REDUCTION_LIMIT` the angle is reduced by π/2 in three
 * parts of 26, 26 and 53 bits, so that k · part is exact; beyond it the standard library reduces it, at any size.
 */
const REDUCTION_LIMIT: f64 = 1e8
const TWO_OVER_PI: f64 = 0.6366197723675814
const PI_2_HIGH: f64 = 1.5707963109016418
const PI_2_MIDDLE: f64 = 1.5893254712295857e-8
const PI_2_LOW: f64 = 6.123233995736766e-17

/**
 * Taylor series of sine and cosine on [-π/4, π/4] without their first terms; the omitted terms are below 2e-13, far
 * below float32's rounding.
 */
const SINE_3: f64 = -1.6666666666666666e-1
const SINE_5: f64 = 8.333333333333333e-3
const SINE_7: f64 = -1.984126984126984e-4
const SINE_9: f64 = 2.7557319223985893e-6
const SINE_11: f64 = -2.505210838544172e-8
const COSINE_2: f64 = -0.5
const COSINE_4: f64 = 4.1666666666666664e-2
const COSINE_6: f64 = -1.388888888888889e-3
const COSINE_8: f64 = 2.48015873015873e-5
const COSINE_10: f64 = -2.7557319223985888e-7
const COSINE_12: f64 = 2.08767569878681e-9

/** Stores cos(angle) at `cosine` and sin(angle) at `sine`, float32. */
export function storeCosineSine(angle: f64, cosine: usize, sine: usize): void {
  if (!(abs<f64>(angle) <= REDUCTION_LIMIT)) {
    f32.store(cosine, <f32>NativeMath.cos(angle))
    f32.store(sine, <f32>NativeMath.sin(angle))
    return
  }
  const k = nearest<f64>(angle * TWO_OVER_PI)
  const r = angle - k * PI_2_HIGH - k * PI_2_MIDDLE - k * PI_2_LOW
  const square = r * r
  const s = r + r * square * (SINE_3 + square * (SINE_5 + square * (SINE_7 + square * (SINE_9 + square * SINE_11))))
  const c =
    1 + square * (COSINE_2 + square * (COSINE_4 + square * (COSINE_6 + square * (COSINE_8 + square * (COSINE_10 + square * COSINE_12)))))
  const quadrant = (<i32>k) & 3
  const swap = (quadrant & 1) != 0
  const x = swap ? s : c
  const y = swap ? c : s
  f32.store(cosine, <f32>(quadrant == 1 || quadrant == 2 ? -x : x))
  f32.store(sine, <f32>(quadrant >= 2 ? -y : y))
}

// @ts-ignore: decorator
@lazy
const COSINE_SINE: usize = memory.data<f64>(
  [
    REDUCTION_LIMIT,
    TWO_OVER_PI,
    PI_2_HIGH,
    PI_2_MIDDLE,
    PI_2_LOW,
    SINE_3,
    SINE_5,
    SINE_7,
    SINE_9,
    SINE_11,
    COSINE_2,
    COSINE_4,
    COSINE_6,
    COSINE_8,
    COSINE_10,
    COSINE_12,
    1.0,
  ],
  16,
)

/** a + b · c in float64, both operations rounded. */
// @ts-ignore: decorator
@inline
function plusProduct(a: v128, b: v128, c: v128): v128 {
  return f64x2.add(a, f64x2.mul(b, c))
}

/**
 * `storeCosineSine` of two angles (f64x2), stored side by side: the same operations, hence the same bits, without its
 * branches.
 */
export function storeTwoCosinesSines(angles: v128, cosine: usize, sine: usize): void {
  if (!v128.all_true<i64>(f64x2.le(f64x2.abs(angles), v128.load64_splat(COSINE_SINE)))) {
    storeCosineSine(f64x2.extract_lane(angles, 0), cosine, sine)
    storeCosineSine(f64x2.extract_lane(angles, 1), cosine + 4, sine + 4)
    return
  }
  const k = f64x2.nearest(f64x2.mul(angles, v128.load64_splat(COSINE_SINE, 8)))
  let r = f64x2.sub(angles, f64x2.mul(k, v128.load64_splat(COSINE_SINE, 16)))
  r = f64x2.sub(r, f64x2.mul(k, v128.load64_splat(COSINE_SINE, 24)))
  r = f64x2.sub(r, f64x2.mul(k, v128.load64_splat(COSINE_SINE, 32)))
  const square = f64x2.mul(r, r)
  let s = plusProduct(v128.load64_splat(COSINE_SINE, 64), square, v128.load64_splat(COSINE_SINE, 72))
  s = plusProduct(v128.load64_splat(COSINE_SINE, 56), square, s)
  s = plusProduct(v128.load64_splat(COSINE_SINE, 48), square, s)
  s = plusProduct(v128.load64_splat(COSINE_SINE, 40), square, s)
  s = plusProduct(r, f64x2.mul(r, square), s)
  let c = plusProduct(v128.load64_splat(COSINE_SINE, 112), square, v128.load64_splat(COSINE_SINE, 120))
  c = plusProduct(v128.load64_splat(COSINE_SINE, 104), square, c)
  c = plusProduct(v128.load64_splat(COSINE_SINE, 96), square, c)
  c = plusProduct(v128.load64_splat(COSINE_SINE, 88), square, c)
  c = plusProduct(v128.load64_splat(COSINE_SINE, 80), square, c)
  c = plusProduct(v128.load64_splat(COSINE_SINE, 128), square, c)
  // float32 from here on: the quadrant's lowest bit swaps the two, and its bits determine the signs
  const quadrant = i32x4.trunc_sat_f64x2_s_zero(k)
  const s32 = f32x4.demote_f64x2_zero(s)
  const c32 = f32x4.demote_f64x2_zero(c)
  const swap = i32x4.shr_s(i32x4.shl(quadrant, 31), 31)
  const high = i32x4.shr_u(quadrant, 1)
  const cosines = v128.xor(v128.bitselect(s32, c32, swap), i32x4.shl(v128.xor(quadrant, high), 31))
  const sines = v128.xor(v128.bitselect(c32, s32, swap), i32x4.shl(high, 31))
  v128.store64_lane(cosine, cosines, 0)
  v128.store64_lane(sine, sines, 0)
}
