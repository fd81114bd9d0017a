import { EXP2, exp2InRange } from './exp2'
import { multiplyAdd, subtractProduct } from './vectors'

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
