/*
 * Arithmetic that every kernel shares. Whether `multiplyAdd` rounds once or twice is the one difference between the builds, and it exists only in
 * vector form (wasm has no scalar fused multiply-add), so every value that a kernel makes with it is made by vectors, tails too.
 */

// @ts-ignore: decorator
@inline
export function multiplyAdd(a: v128, b: v128, sum: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, sum)
  return f32x4.add(sum, f32x4.mul(a, b))
}

/** The one tree by which four lanes become a sum. */
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
 * Constants live in memory and are loaded into locals before a loop: `f32x4.splat` of a constant inside it is rebuilt at every use by V8 from 13.6
 * on, at a fifth of the speed (docs/KERNELS.md, pitfall 2).
 *
 * exp(x) = 2^n · p(r), n = round(x / ln 2), r = x - n · ln 2 in two parts, p the degree-6 polynomial of Cephes' expf; relative error 7e-8. Rounding
 * by adding 1.5 · 2^23, whose low bits are then n.
 */
// @ts-ignore: decorator
@lazy
export const EXP: usize = memory.data<f32>(
  [
    -87.33654, 1.4426950408889634, 12582912.0, -0.693359375, 2.1219444e-4, 1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2,
    1.6666665459e-1, 5.0000001201e-1, 1.0,
  ],
  16,
)

/** exp of four values from -87.33 to 0; of others anything. The constants are `EXP`'s, each splatted into a local by the caller. */
// @ts-ignore: decorator
@inline
function expInRange(
  x: v128,
  log2e: v128,
  magic: v128,
  ln2High: v128,
  ln2Low: v128,
  p0: v128,
  p1: v128,
  p2: v128,
  p3: v128,
  p4: v128,
  p5: v128,
  one: v128,
): v128 {
  const rounded = multiplyAdd(x, log2e, magic)
  const exponent = i32x4.shl(rounded, 23)
  const n = f32x4.sub(rounded, magic)
  const r = multiplyAdd(n, ln2Low, multiplyAdd(n, ln2High, x))
  let p = multiplyAdd(r, p0, p1)
  p = multiplyAdd(p, r, p2)
  p = multiplyAdd(p, r, p3)
  p = multiplyAdd(p, r, p4)
  p = multiplyAdd(p, r, p5)
  p = f32x4.add(multiplyAdd(p, f32x4.mul(r, r), r), one)
  return i32x4.add(p, exponent)
}

/** exp of four values up to 0; +0 below -87.33 (and for NaN), where the result would be subnormal. Constants as for `expInRange`. */
// @ts-ignore: decorator
@inline
export function expVector(
  x: v128,
  low: v128,
  log2e: v128,
  magic: v128,
  ln2High: v128,
  ln2Low: v128,
  p0: v128,
  p1: v128,
  p2: v128,
  p3: v128,
  p4: v128,
  p5: v128,
  one: v128,
): v128 {
  const inRange = f32x4.ge(x, low)
  // a pseudo-maximum is one instruction; it takes the bound for a NaN, which is masked
  const clamped = f32x4.pmax(low, x)
  return v128.and(expInRange(clamped, log2e, magic, ln2High, ln2Low, p0, p1, p2, p3, p4, p5, one), inRange)
}

/** exp of a few values up to 0, outside hot loops. */
export function expLanes(x: v128): v128 {
  return expVector(
    x,
    v128.load32_splat(EXP),
    v128.load32_splat(EXP, 4),
    v128.load32_splat(EXP, 8),
    v128.load32_splat(EXP, 12),
    v128.load32_splat(EXP, 16),
    v128.load32_splat(EXP, 20),
    v128.load32_splat(EXP, 24),
    v128.load32_splat(EXP, 28),
    v128.load32_splat(EXP, 32),
    v128.load32_splat(EXP, 36),
    v128.load32_splat(EXP, 40),
    v128.load32_splat(EXP, 44),
  )
}

/**
 * A float16 shifted to float32's places, sign extended, keeps this mask's bits; what they say then is the value times 2^-112, subnormal or not
 * (infinity and NaN excepted), and 2^112 undoes it exactly.
 */
// @ts-ignore: decorator
@lazy
export const HALF: usize = memory.data<u32>([0x8fffe000, 0x77800000], 16)

/** Four float16, sign extended, to float32, exactly; `mask` and `scale` are `HALF`'s, splatted into locals by the caller. */
// @ts-ignore: decorator
@inline
export function widenHalves(halves: v128, mask: v128, scale: v128): v128 {
  return f32x4.mul(v128.and(i32x4.shl(halves, 13), mask), scale)
}

/** Four bfloat16, zero extended, to float32: the upper halves of its bits. */
// @ts-ignore: decorator
@inline
export function widenBrainHalves(halves: v128): v128 {
  return i32x4.shl(halves, 16)
}

/**
 * ln erfc(u / √2) = u · q(u) on [0, 6.5], q of degree 8, fitted by weighted least squares to the error that it leaves in GELU: 1.8e-9, below float32's
 * own rounding. Beyond 6.5 the tail Φ(-u) is below 4.1e-11 and taken as 0.
 */
// @ts-ignore: decorator
@lazy
const GELU: usize = memory.data<f32>(
  [
    6.5, -0.7978850603103638, -0.3183034658432007, -0.03636270388960838, 0.004836589563637972, -2.168713581340853e-5, -1.7885788611e-4,
    4.6065029891906306e-5, -5.619109742838191e-6, 2.853745684205933e-7, 0.5,
  ],
  16,
)

/**
 * Exact GELU of four values, x · Φ(x), through the tail Φ(-|x|) = erfc(|x| / √2) / 2: no cancellation on the negative side, where the absolute error
 * stays below 3e-9. Inlined, so that two of them run side by side.
 */
// @ts-ignore: decorator
@inline
export function geluLanes(x: v128): v128 {
  const bound = v128.load32_splat(GELU)
  const u = f32x4.pmin(bound, f32x4.abs(x))
  let q = v128.load32_splat(GELU, 36)
  q = multiplyAdd(q, u, v128.load32_splat(GELU, 32))
  q = multiplyAdd(q, u, v128.load32_splat(GELU, 28))
  q = multiplyAdd(q, u, v128.load32_splat(GELU, 24))
  q = multiplyAdd(q, u, v128.load32_splat(GELU, 20))
  q = multiplyAdd(q, u, v128.load32_splat(GELU, 16))
  q = multiplyAdd(q, u, v128.load32_splat(GELU, 12))
  q = multiplyAdd(q, u, v128.load32_splat(GELU, 8))
  q = multiplyAdd(q, u, v128.load32_splat(GELU, 4))
  // u · q(u) lies between -24 and 0
  const exponential = expInRange(
    f32x4.mul(q, u),
    v128.load32_splat(EXP, 4),
    v128.load32_splat(EXP, 8),
    v128.load32_splat(EXP, 12),
    v128.load32_splat(EXP, 16),
    v128.load32_splat(EXP, 20),
    v128.load32_splat(EXP, 24),
    v128.load32_splat(EXP, 28),
    v128.load32_splat(EXP, 32),
    v128.load32_splat(EXP, 36),
    v128.load32_splat(EXP, 40),
    v128.load32_splat(EXP, 44),
  )
  const half = f32x4.mul(exponential, v128.load32_splat(GELU, 40))
  const tail = v128.and(f32x4.mul(x, half), f32x4.lt(f32x4.abs(x), bound))
  return v128.bitselect(tail, f32x4.sub(x, tail), f32x4.lt(x, f32x4.splat(0)))
}

/**
 * cos and sin of an angle in float64, rounded to float32. Up to `REDUCTION_LIMIT` the angle is reduced by π/2 in three parts of 26, 26 and 53 bits,
 * so that k · part is exact; beyond it by the standard library, at any size.
 */
const REDUCTION_LIMIT: f64 = 1e8
const TWO_OVER_PI: f64 = 0.6366197723675814
const PI_2_HIGH: f64 = 1.5707963109016418
const PI_2_MIDDLE: f64 = 1.5893254712295857e-8
const PI_2_LOW: f64 = 6.123233995736766e-17

/** The Taylor series of sine and cosine on [-π/4, π/4], less their first terms: the next terms are below 2e-13, far below float32's rounding. */
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

/** a + b · c in float64, both rounded. */
// @ts-ignore: decorator
@inline
function plusProduct(a: v128, b: v128, c: v128): v128 {
  return f64x2.add(a, f64x2.mul(b, c))
}

/** `storeCosineSine` of two angles (f64x2), stored side by side: the same operations, so the same bits, without its branches. */
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
  // float32 from here on: the quadrant's lowest bit exchanges the two, its bits say which are negative
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
