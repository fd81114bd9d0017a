import { expect } from 'vitest'
import type { LayerTrace } from '../../src/model/layer.js'
import type { Tensor } from '../../src/tensor.js'

/** Bit for bit: NaN equals NaN, and 0 is not -0. */
export function expectSameBits(actual: Tensor, expected: Tensor): void {
  expect(actual.shape).toEqual(expected.shape)
  const bits = ({ data }: Tensor) => new Uint32Array(data.buffer, data.byteOffset, data.length)
  const [a, b] = [bits(actual), bits(expected)]
  const first = a.findIndex((word, i) => word !== b[i])
  if (first >= 0) expect.fail(`value ${first} of ${a.length} is ${actual.data[first]}, not ${expected.data[first]}`)
}

export const traceNames = ['out', 'localOut', 'routedQueries', 'keyValueIndices'] as const

export function expectSameTrace(actual: LayerTrace, expected: LayerTrace): void {
  for (const name of traceNames) expectSameBits(actual[name], expected[name])
}
