/** 64-bit integers, as programs keep positions. */

/** The words of some. */
export function int64Words(values: readonly number[]): Int32Array {
  return new Int32Array(BigInt64Array.from(values, BigInt).buffer)
}

/** The inverse. */
export function int64Values(words: Int32Array): number[] {
  return Array.from(new BigInt64Array(words.slice().buffer), Number)
}
