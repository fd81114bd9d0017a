import { EXP2, exp2Vector, LOG2_E } from '../math/exp2'
import { laneMask, maxLanes, sumLanes } from '../math/vectors'
import { floats } from '../operands'

/**
 * Softmax of scores `first` … `end` - 1 in place; the others up to `columns` (a multiple of 4, like the row's address)
 * become +0. Returns 1 / sum. The maximum is found first, followed by one pass of exponentials summed in four lanes by
 * column modulo 4, ascending.
 */
export function softmax(row: usize, first: i32, end: i32, columns: i32, scale: f32): f32 {
  let x = row + floats(first & ~3)
  const stop = row + floats(end)
  fillZeros(row, x)

  const hidden = f32x4.splat(-Infinity)
  const headMask = v128.not(laneMask(first & 3))
  const tailMask = laneMask(((end - 1) & 3) + 1)
  const lastVector = row + floats((end - 1) & ~3)
  v128.store(x, v128.bitselect(v128.load(x), hidden, headMask))
  v128.store(lastVector, v128.bitselect(v128.load(lastVector), hidden, tailMask))

  const shift = f32x4.splat(maxLanes(largestLanes(x, stop)))

  const scales = f32x4.splat(<f32>(<f64>scale * LOG2_E))
  const low = v128.load32_splat(EXP2)
  const magic = v128.load32_splat(EXP2, 4)
  const p5 = v128.load32_splat(EXP2, 8)
  const p4 = v128.load32_splat(EXP2, 12)
  const p3 = v128.load32_splat(EXP2, 16)
  const p2 = v128.load32_splat(EXP2, 20)
  const p1 = v128.load32_splat(EXP2, 24)
  const one = v128.load32_splat(EXP2, 28)
  let sum = f32x4.splat(0)
  for (; x < stop; x += 16) {
    const e = exp2Vector(f32x4.mul(f32x4.sub(v128.load(x), shift), scales), low, magic, p5, p4, p3, p2, p1, one)
    v128.store(x, e)
    sum = f32x4.add(sum, e)
  }
  fillZeros(x, row + floats(columns))
  return 1 / sumLanes(sum)
}

/** Lane-wise maximum of one or more vectors, in four chains, because a single one would wait four cycles for each. */
// @ts-ignore: decorator
@inline
function largestLanes(x: usize, end: usize): v128 {
  let m0 = v128.load(x)
  let m1 = m0
  let m2 = m0
  let m3 = m0
  for (; x + 64 <= end; x += 64) {
    m0 = f32x4.pmax(m0, v128.load(x))
    m1 = f32x4.pmax(m1, v128.load(x, 16))
    m2 = f32x4.pmax(m2, v128.load(x, 32))
    m3 = f32x4.pmax(m3, v128.load(x, 48))
  }
  for (; x < end; x += 16) m0 = f32x4.pmax(m0, v128.load(x))
  return f32x4.pmax(f32x4.pmax(m0, m1), f32x4.pmax(m2, m3))
}

/** Stores whole vectors, since a bulk fill costs more than these few. */
// @ts-ignore: decorator
@inline
function fillZeros(from: usize, end: usize): void {
  const zero = f32x4.splat(0)
  for (; from < end; from += 16) v128.store(from, zero)
}
