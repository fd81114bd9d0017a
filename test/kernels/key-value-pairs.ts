/** Keys and values of tokens: rows of heads, as ops read and write them. */
import { createRandom } from '../../src/random.js'
import { headRows } from './attention-twin.js'
import type { HeadShape } from './op-cases.js'

/** Rows of keys and of values. */
export interface KeyValues {
  readonly keys: readonly Float32Array[]
  readonly values: readonly Float32Array[]
}

export function keyValuesOf(count: number, { heads, width, headStride }: HeadShape, seed: number): KeyValues {
  const { normal } = createRandom(seed)
  return { keys: headRows(count, heads, width, headStride, normal), values: headRows(count, heads, width, headStride, normal) }
}

/** Rows of [k | v]. */
export function interleave({ keys, values }: KeyValues): Float32Array {
  return Float32Array.from(keys.flatMap((key, i) => [...key, ...values[i]!]))
}
