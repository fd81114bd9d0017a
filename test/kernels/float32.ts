/** Exact float32 arithmetic for the kernels' twins, comparisons to the last bit, and values to compute with. */
import { expect } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { createRandom } from '../../src/random.js'

const { fround } = Math
const double = new Float64Array(1)
const words = new Int32Array(double.buffer)

export type MultiplyAdd = (a: number, b: number, sum: number) => number

/** sum + a·b of float32 values, the product rounded before the sum is. */
export function multiplyThenAdd(a: number, b: number, sum: number): number {
  return fround(sum + fround(a * b))
}

/**
 * sum + a·b of float32 values, rounded once. The product is exact in float64; the sum is rounded there to odd (its
 * error, which two-sum gives, moves an even result by one towards the exact value), so that the second rounding sees
 * no false tie.
 */
export function fusedMultiplyAdd(a: number, b: number, sum: number): number {
  const product = a * b
  const rounded = product + sum
  const part = rounded - product
  const error = product - (rounded - part) + (sum - part)
  if (error === 0 || error !== error) return fround(rounded)
  double[0] = rounded
  if (!(words[0]! & 1)) {
    if (error > 0 === rounded > 0) words[0]!++
    else if (words[0]!-- === 0) words[1]!--
  }
  return fround(double[0])
}

/** The arithmetic of a runtime's products. */
export function multiplyAddOf(runtime: Runtime): MultiplyAdd {
  return runtime.info.fused ? fusedMultiplyAdd : multiplyThenAdd
}

/** Fails where two results differ in a bit; NaNs are equal. */
export function expectSameBits(actual: ArrayLike<number>, expected: ArrayLike<number>, about = 'a result'): void {
  if (actual.length !== expected.length) expect.fail(`${about} has ${actual.length} values, not ${expected.length}`)
  for (let i = 0; i < actual.length; i++) {
    if (!Object.is(actual[i], expected[i])) expect.fail(`${about}: value ${i} is ${actual[i]}, not ${expected[i]}`)
  }
}

/**
 * Fails where a result is further than `absolute` + `relative` · |expected| from what is expected; a NaN must be one.
 */
export function expectClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  { absolute = 0, relative = 0 }: { absolute?: number; relative?: number },
  about = 'a result',
): void {
  if (actual.length !== expected.length) expect.fail(`${about} has ${actual.length} values, not ${expected.length}`)
  for (let i = 0; i < actual.length; i++) {
    const value = expected[i]!
    if (Object.is(actual[i], value) || Math.abs(actual[i]! - value) <= absolute + relative * Math.abs(value)) continue
    expect.fail(`${about}: value ${i} is ${actual[i]}, too far from ${value}`)
  }
}

/** Standard normal values, rounded to float32. */
export function normals(length: number, seed: number): Float32Array {
  const random = createRandom(seed)
  return Float32Array.from({ length }, () => random.normal())
}

/** Integers 0 … limit - 1. */
export function integers(length: number, limit: number, seed: number): Int32Array {
  const random = createRandom(seed)
  return Int32Array.from({ length }, () => Math.floor(random.uniform() * limit))
}

/** Rows of `width` values put `stride` apart, with `filling` between them. The last row is as long as the others. */
export function spread(values: Float32Array, width: number, stride: number, filling = NaN): Float32Array {
  const rows = width === 0 ? 0 : values.length / width
  const out = new Float32Array(rows * stride).fill(filling)
  for (let row = 0; row < rows; row++) out.set(values.subarray(row * width, (row + 1) * width), row * stride)
  return out
}

/** The inverse of `spread`. */
export function gather(values: Float32Array, rows: number, width: number, stride: number): Float32Array {
  const out = new Float32Array(rows * width)
  for (let row = 0; row < rows; row++) out.set(values.subarray(row * stride, row * stride + width), row * width)
  return out
}

export function roundUpTo8(value: number): number {
  return Math.ceil(value / 8) * 8
}

/** 0, 1, …, length - 1. */
export function range(length: number): number[] {
  return Array.from({ length }, (_, i) => i)
}
