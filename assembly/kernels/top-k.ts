import { floats } from '../operands'
import { HISTOGRAM_BYTES } from '../ir/sizes'

/** A float's bits, rearranged so that unsigned order equals float order. Router scores are never -0. */
// @ts-ignore: decorator
@inline
function orderedKey(address: usize): u32 {
  const bits = load<u32>(address)
  return bits ^ ((<u32>((<i32>bits) >> 31)) | 0x80000000)
}

/**
 * Ascending indices of the `k` largest of `n` values (all, if there are no more), ties to the lower index. Returns
 * their number. Nothing is sorted: four passes of a histogram find the k-th largest value byte by byte from the top,
 * and a last one takes the values above it and the first of those equal to it.
 */
export function topK(values: usize, n: i32, k: i32, histogram: usize, indices: usize): i32 {
  let threshold: u32 = 0
  let equals = n
  if (k < n) {
    equals = k
    for (let shift = 24; shift >= 0; shift -= 8) {
      memory.fill(histogram, 0, <usize>HISTOGRAM_BYTES)
      countBytes(values, n, threshold, shift, histogram)
      let byte = 255
      for (; equals > load<i32>(histogram + floats(byte)); --byte) equals -= load<i32>(histogram + floats(byte))
      threshold |= (<u32>byte) << shift
    }
  }
  return takeAbove(values, n, threshold, equals, indices)
}

/** Counts the byte at `shift` of every key whose higher bytes equal the threshold's. */
function countBytes(values: usize, n: i32, threshold: u32, shift: i32, histogram: usize): void {
  const mask: u32 = shift == 24 ? 0 : (<u32>0xffffffff) << (shift + 8)
  for (let i = 0; i < n; ++i) {
    const key = orderedKey(values + floats(i))
    if ((key & mask) != threshold) continue
    const bin = histogram + floats((<i32>(key >> shift)) & 255)
    store<i32>(bin, load<i32>(bin) + 1)
  }
}

function takeAbove(values: usize, n: i32, threshold: u32, equals: i32, indices: usize): i32 {
  let count = 0
  for (let i = 0; i < n; ++i) {
    const key = orderedKey(values + floats(i))
    if (key < threshold) continue
    if (key == threshold && --equals < 0) continue
    store<i32>(indices + floats(count++), i)
  }
  return count
}
