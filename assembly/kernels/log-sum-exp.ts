import { EXP2, exp2InRange, LOG2_E } from '../math/exp2'
import { laneMask, maxLanes, sumLanes } from '../math/vectors'
import { floats } from '../operands'

/** The largest of `width` values, at least one. */
export function largestOf(x: usize, width: i32): f32 {
  let largest = v128.load32_splat(x)
  let i = 0
  for (; i + 4 <= width; i += 4, x += 16) largest = f32x4.max(largest, v128.load(x))
  for (; i < width; ++i, x += 4) largest = f32x4.max(largest, v128.load32_splat(x))
  return maxLanes(largest)
}

/**
 * Σ exp((min(s, cap) - largest) / eps) of at least one value, in four lanes over blocks of 512, the blocks added in
 * float64.
 */
export function sumOfExponentials(s: usize, n: i32, cap: f32, largest: f32, eps: f64): f64 {
  let sum: f64 = 0
  for (let i = 0; i < n; i += 512) sum += blockOfExponentials(s + floats(i), min(512, n - i), cap, largest, <f32>(LOG2_E / eps))
  return sum
}

/** Terms below 2^-126 count as 2^-126, which cannot affect a sum that contains a 1. */
function blockOfExponentials(s: usize, n: i32, cap: f32, largest: f32, scale: f32): f64 {
  const caps = f32x4.splat(cap)
  const shift = f32x4.splat(largest)
  const scales = f32x4.splat(scale)
  const low = v128.load32_splat(EXP2)
  const magic = v128.load32_splat(EXP2, 4)
  const p5 = v128.load32_splat(EXP2, 8)
  const p4 = v128.load32_splat(EXP2, 12)
  const p3 = v128.load32_splat(EXP2, 16)
  const p2 = v128.load32_splat(EXP2, 20)
  const p1 = v128.load32_splat(EXP2, 24)
  const one = v128.load32_splat(EXP2, 28)
  let sum = f32x4.splat(0)
  for (const end = s + floats(n & ~3); s < end; s += 16) {
    // A pseudo-minimum or -maximum is one instruction, a minimum eight
    const y = f32x4.mul(f32x4.sub(f32x4.pmin(v128.load(s), caps), shift), scales)
    sum = f32x4.add(sum, exp2InRange(f32x4.pmax(low, y), magic, p5, p4, p3, p2, p1, one))
  }
  if ((n & 3) != 0) {
    const y = f32x4.mul(f32x4.sub(f32x4.pmin(v128.load(s), caps), shift), scales)
    sum = f32x4.add(sum, v128.and(exp2InRange(f32x4.pmax(low, y), magic, p5, p4, p3, p2, p1, one), laneMask(n & 3)))
  }
  return sumLanes(sum)
}
