import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { coordinateDescent, largest, referenceLayer, referenceModel, select, selectCausally, type Values } from '../reference/index.js'
import { erf } from '../reference/arithmetic.js'
import { layerCases, modelCases } from '../support/golden.js'
import { readSafetensors } from '../support/safetensors.js'

/**
 * Golden values were rounded to float32; two float64 implementations differ by less than 1e-6 (test/golden/README.md).
 */
function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>) {
  expect(actual.length).toBe(expected.length)
  const isClose = (value: number, i: number) => Math.abs(actual[i]! - value) < 1e-6 + 2 ** -24 * Math.abs(value)
  const far = Array.from(expected).findIndex((value, i) => !isClose(value, i))
  if (far >= 0) expect.fail(`value ${far} of ${expected.length}: ${actual[far]}, expected ${expected[far]}`)
}

/** Tokens 0, stride, 2·stride, … of (batch, tokens, dim) values. */
function everyNthToken({ data, shape }: Values, stride: number): number[] {
  const [, tokens, dim] = shape as [number, number, number]
  return Array.from(data).filter((_, i) => (Math.floor(i / dim) % tokens) % stride === 0)
}

describe('the reference layer', () => {
  for (const golden of layerCases()) {
    it(`agrees with the golden case ${golden.name}: ${golden.about}`, () => {
      const trace = referenceLayer(golden.options, golden.parameters, golden.input, golden.forwardOptions)
      const { out, localOut, routedQueries, keyValueIndices } = golden.expected
      expectClose(everyNthToken(trace.localOut, golden.tokenStride), localOut.data)
      expect(trace.routedQueries).toEqual(routedQueries)
      expect(trace.keyValueIndices).toEqual(keyValueIndices)
      expectClose(everyNthToken(trace.out, golden.tokenStride), out.data)
    })
  }

  it('gives an empty result for an empty batch and for an empty sequence', () => {
    const { options, parameters } = layerCases().find(({ name }) => name === 'many-windows')!
    for (const shape of [
      [0, 40, 64],
      [2, 0, 64],
    ]) {
      const trace = referenceLayer(options, parameters, { data: [], shape })
      expect(trace.out).toEqual({ data: new Float64Array(0), shape })
      expect(trace.routedQueries).toBeUndefined()
    }
  })
})

describe('the reference model', () => {
  for (const golden of modelCases()) {
    it(`agrees with the golden model ${golden.name}: ${golden.about}`, () => {
      const vocabulary = golden.config['num_tokens'] as number
      const logits = referenceModel(golden.config, golden.parameters, golden.inputIds)
      expect(logits.shape).toEqual(golden.expected.logits.shape)
      expectClose(logits.data, golden.expected.logits.data)
      golden.prefixLengths.forEach((length, i) => {
        const prefix = referenceModel(golden.config, golden.parameters, golden.inputIds.slice(0, length))
        expectClose(prefix.data.slice(-vocabulary), golden.expected.prefixLogits.data.slice(i * vocabulary, (i + 1) * vocabulary))
      })
    })
  }
})

describe('selection', () => {
  const schedule = { nIters: 20, fetchKRatio: 9 / 8, eps: 0.03, epsInit: 4, epsDecay: 0.7 }
  const all = (length: number) => Array<boolean>(length).fill(true)

  it('gives ties to the lower index, and never selects a masked candidate', () => {
    expect(largest([1, 3, 3, 2, 3], all(5), 2)).toEqual([1, 2])
    expect(largest([1, 3, 3, 2, 3], [true, false, true, true, true], 3)).toEqual([2, 3, 4])
    expect(largest([5, 4, 3], [false, false, true], 2)).toEqual([2])
  })

  it('selects every unmasked candidate with score 1 when the row is no longer than k', () => {
    const rule = { ...schedule, selection: 'coordinate-descent', straightThrough: false } as const
    const taken = select([0.1, 0.2, 0.3], [true, false, true], 3, rule)
    expect(taken).toEqual([
      { index: 0, score: 1 },
      { index: 2, score: 1 },
    ])
  })

  it('first selects what coordinate descent leaves at 0, in index order, even if others are more similar', () => {
    const routerScores = [0, 40, 30, 50, 20, 60, -10, 10]
    const { cut } = coordinateDescent(routerScores, all(8), 2, schedule)
    const atZero = routerScores.map((_, i) => i).filter((i) => cut[i] === 0)
    expect(atZero.length).toBeGreaterThan(2)
    expect(largest(cut, all(8), 2)).toEqual(atZero.slice(0, 2))
    expect(largest(routerScores, all(8), 2)).toEqual([3, 5])
  })

  it('gives coordinate descent scores that add up to about k times the fetch ratio', () => {
    const routerScores = Array.from({ length: 32 }, (_, i) => 2 * Math.sin(7 * i))
    const { scores } = coordinateDescent(routerScores, all(32), 8, { ...schedule, nIters: 200, eps: 0.3 })
    expect(scores.reduce((sum, score) => sum + score, 0)).toBeCloseTo(9, 1)
  })

  it('selects causal queries by earlier tokens only', () => {
    expect(selectCausally([1, 2, 2, 3, 0, 2], 1).map(({ index }) => index)).toEqual([0, 1, 3])
    expect(selectCausally([1, 2, 2, 3, 0, 2], 2).map(({ index }) => index)).toEqual([0, 1, 2, 3])
  })
})

describe('erf', () => {
  it('agrees with tabulated values', () => {
    expect(erf(0)).toBe(0)
    expect(erf(0.5)).toBeCloseTo(0.5204998778130465, 15)
    expect(erf(-1)).toBeCloseTo(-0.8427007929497149, 15)
    expect(erf(3)).toBeCloseTo(0.9999779095030014, 15)
    expect(erf(7)).toBe(1)
  })
})

describe("the tests' safetensors reader", () => {
  it('widens float16 and bfloat16 exactly, at any offset', () => {
    const header = JSON.stringify({
      odd: { dtype: 'U8', shape: [1], data_offsets: [0, 1] },
      half: { dtype: 'F16', shape: [6], data_offsets: [1, 13] },
      brain: { dtype: 'BF16', shape: [1, 2], data_offsets: [13, 17] },
    })
    const bytes = new Uint8Array(8 + header.length + 17)
    const view = new DataView(bytes.buffer)
    view.setBigUint64(0, BigInt(header.length), true)
    bytes.set(new TextEncoder().encode(header), 8)
    const words = [0x3c00, 0xc500, 0x0001, 0x03ff, 0x7bff, 0xfc00, 0x3f80, 0xc049]
    words.forEach((word, i) => view.setUint16(8 + header.length + 1 + 2 * i, word, true))

    const tensors = readSafetensors(bytes)
    expect([...tensors.get('half')!.data]).toEqual([1, -5, 2 ** -24, 1023 * 2 ** -24, 65504, -Infinity])
    expect(tensors.get('brain')).toEqual({ dtype: 'BF16', shape: [1, 2], data: Float32Array.of(1, -3.140625) })
  })

  it('reads every golden file that a case refers to', () => {
    for (const { name } of [...layerCases(), ...modelCases()]) {
      const tensors = readSafetensors(readFileSync(new URL(`../golden/${name}.safetensors`, import.meta.url)))
      expect(tensors.size, name).toBeGreaterThanOrEqual(2)
    }
  })
})
