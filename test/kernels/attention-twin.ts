/** Keys and values as the attention ops lay them out, and attention in plain float64. */
import { attend } from '../reference/arithmetic.js'

/** The layout of [head][key / 8][headStride][8]: where each channel of a key is. */
export function keyIndex(head: number, key: number, channel: number, headStride: number, capacity: number): number {
  return head * headStride * capacity + (Math.floor(key / 8) * headStride + channel) * 8 + (key % 8)
}

/** The layout of [head][headStride / 8][capacity][8]. */
export function valueIndex(head: number, key: number, channel: number, headStride: number, capacity: number): number {
  return head * headStride * capacity + (Math.floor(channel / 8) * capacity + key) * 8 + (channel % 8)
}

type Index = typeof keyIndex

/**
 * Floats of keys, or values, that fill what is left of `capacity` keys with NaN. `rows` are [head 0 | head 1 | …], each
 * `headStride` wide.
 */
export function packHeads(index: Index, rows: readonly Float32Array[], heads: number, headStride: number, capacity: number): Float32Array {
  const out = new Float32Array(heads * headStride * capacity).fill(NaN)
  rows.forEach((row, key) => {
    for (let head = 0; head < heads; head++) {
      for (let channel = 0; channel < headStride; channel++) {
        out[index(head, key, channel, headStride, capacity)] = row[head * headStride + channel]!
      }
    }
  })
  return out
}

/** The inverse of `packHeads` for keys `first` … `end` - 1. */
export function unpackHeads(
  index: Index,
  packed: Float32Array,
  heads: number,
  headStride: number,
  capacity: number,
  first: number,
  end: number,
) {
  return Array.from({ length: end - first }, (_, i) =>
    Float32Array.from({ length: heads * headStride }, (_, at) => {
      return packed[index(Math.floor(at / headStride), first + i, at % headStride, headStride, capacity)]!
    }),
  )
}

/**
 * One row's attention to some keys, head by head. Rows are [head 0 | head 1 | …], each `headStride` wide, zero beyond
 * `width`.
 */
export function attention(
  query: Float32Array,
  keys: readonly Float32Array[],
  values: readonly Float32Array[],
  { heads, width, headStride }: { heads: number; width: number; headStride: number },
): Float64Array {
  const out = new Float64Array(heads * headStride)
  for (let head = 0; head < heads; head++) {
    const ofHead = (row: Float32Array) => Float64Array.from(row.subarray(head * headStride, head * headStride + width))
    out.set(attend(ofHead(query), keys.map(ofHead), values.map(ofHead)), head * headStride)
  }
  return out
}

/** Rows of heads, each `width` random values and zeros up to `headStride`. */
export function headRows(rows: number, heads: number, width: number, headStride: number, random: () => number): Float32Array[] {
  return Array.from({ length: rows }, () =>
    Float32Array.from({ length: heads * headStride }, (_, i) => (i % headStride < width ? random() : 0)),
  )
}
