import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { MixtureOfAutoregressiveAttention } from '../../src/model/layer.js'
import { largestDifference } from '../support/compare.js'
import { layerCases } from '../support/golden.js'
import { noAdapter, openGpuRuntime } from './gpu.js'

describe.skipIf(noAdapter)('on a GPU', () => {
  let runtime: Runtime
  beforeAll(async () => void ({ runtime } = await openGpuRuntime({ pieceRows: 512 })))
  afterAll(() => runtime.dispose())

  test.each(layerCases().map((golden) => [golden.name, golden] as const))(
    'the layer answers %s, and routes exactly as it should',
    async (_name, golden) => {
      using layer = new MixtureOfAutoregressiveAttention(runtime, golden.options)
      layer.loadStateDict(golden.parameters)
      const { dim } = golden.options
      const [batch, length] = golden.input.shape as [number, number]
      const trace = await layer.forward(golden.input, { ...golden.forwardOptions, trace: true })
      const tolerance = 8 * golden.float32Error + 1e-5
      const { expected, tokenStride } = golden
      const every = (data: Float32Array) => {
        const rows: number[] = []
        for (let b = 0; b < batch; b++) {
          for (let t = 0; t < length; t += tokenStride) rows.push(...data.subarray((b * length + t) * dim, (b * length + t + 1) * dim))
        }
        return rows
      }
      expect(largestDifference(every(trace.localOut.data), expected.localOut.data)).toBeLessThan(tolerance)
      if (expected.routedQueries && expected.keyValueIndices) {
        expect(Array.from(trace.routedQueries.data)).toEqual(Array.from(expected.routedQueries.data))
        expect(Array.from(trace.keyValueIndices.data)).toEqual(Array.from(expected.keyValueIndices.data))
      }
      expect(largestDifference(every(trace.out.data), expected.out.data)).toBeLessThan(tolerance)
      // a software driver takes long over the large ones
      if (golden.input.data.length > 20_000) return
      expect((await layer.forward(golden.input, golden.forwardOptions)).data).toEqual(trace.out.data)
    },
    600_000,
  )
})
