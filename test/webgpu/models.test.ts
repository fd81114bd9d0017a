import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { largestDifference } from '../support/compare.js'
import { modelCases } from '../support/golden.js'
import { loadNovels, modelFiles, novelsGolden } from '../support/models.js'
import { noAdapter, openGpuRuntime } from './gpu.js'

describe.skipIf(noAdapter)('on a GPU', () => {
  let runtime: Runtime
  beforeAll(async () => void ({ runtime } = await openGpuRuntime({ pieceRows: 512 })))
  afterAll(() => runtime.dispose())

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
