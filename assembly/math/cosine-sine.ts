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
