import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { MixtureOfAutoregressiveAttention } from '../../src/model/layer.js'
import { largestDifference } from '../support/compare.js'
import { layerCases, modelCases } from '../support/golden.js'
import { loadNovels, modelFiles, novelsGolden } from '../support/models.js'
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
      expect((await layer.forward(golden.input, golden.forwardOptions)).data).toEqual(trace.out.data)
    },
    600_000,
  )

  test.each(modelCases().map((golden) => [golden.name, golden] as const))(
    'the small model %s answers, and to the bit however its tokens are cut',
    async (_name, golden) => {
      using model = await LanguageModel.load(modelFiles(golden), { runtime })
      const tolerance = 8 * golden.float32Error + 1e-5
      const { numTokens } = model.config
      const logits = await model.forward(golden.inputIds)
      expect(largestDifference(logits.data, golden.expected.logits.data)).toBeLessThan(tolerance)
      using session = model.createSession()
      for (const [i, length] of golden.prefixLengths.entries()) {
        const last = await session.append(golden.inputIds.slice(session.position, length))
        const expected = golden.expected.prefixLogits.data.subarray(i * numTokens, (i + 1) * numTokens)
        expect(largestDifference(last, expected), `after ${length} tokens`).toBeLessThan(tolerance)
        const whole = await model.forward(golden.inputIds.slice(0, length))
        expect(last, `after ${length} tokens, to the bit`).toEqual(whole.data.slice(-numTokens))
      }
    },
    600_000,
  )

  test('the shipped model gives its golden logits and bits, and goes on with its golden greedy tokens', async () => {
    using model = await loadNovels(runtime)
    const golden = novelsGolden()
    const { bitsPerToken } = await model.evaluate(golden.inputIds)
    expect(bitsPerToken).toBeCloseTo(golden.bits.reduce((sum, bits) => sum + bits, 0) / 699, 3)
    const ids: number[] = []
    for await (const token of model.generate(golden.promptIds, { maxTokens: 8, temperature: 0 })) ids.push(token.id)
    expect(ids).toEqual(golden.greedyIds.slice(0, 8))
  }, 600_000)
})
