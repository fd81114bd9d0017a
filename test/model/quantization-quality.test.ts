/** How far a quantized model is from its original. */
import { describe, expect, test } from 'vitest'
import { LanguageModel } from '../../src/model/language-model.js'
import { countAgreements, measureQuality } from '../../src/model/quantization/quality.js'
import { quantizeModel, withActivationBits } from '../../src/model/quantization/quantize-model.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, publishedConfig, randomTokens, smallModel, smallModelFiles } from '../support/small-models.js'

const files = smallModelFiles(smallModel(causalConfig))
const ids = [...randomTokens(1100, causalConfig.num_tokens)]

/** The greedy continuation after each token, of one pass over all. */
async function bestTokens(model: LanguageModel, tokens: number[]): Promise<number[]> {
  const { data, shape } = await model.forward(tokens)
  return Array.from({ length: shape[0]! }, (_, row) => {
    const logits = data.subarray(row * shape[1]!, (row + 1) * shape[1]!)
    return logits.indexOf(Math.max(...logits))
  })
}

describe('the quality of a model', () => {
  test('has the bits of evaluate and the greedy choices after the first 1,000 tokens', async () => {
    using runtime = openRuntime('baseline')
    const model = await LanguageModel.load(files, { runtime })
    const seen: number[] = []
    const { bitsPerToken, tokens, choices } = await measureQuality(model, ids, { onProgress: ({ done }) => seen.push(done) })
    expect({ bitsPerToken, tokens }).toEqual(await model.evaluate(ids))
    expect([...choices]).toEqual(await bestTokens(model, ids.slice(0, 1000)))
    expect(seen).toEqual([1099])
  })

  test.each([
    ['strictly causal', { ...causalConfig, max_positions: 32 }],
    ['published', { ...publishedConfig, max_positions: 32 }],
  ])('is measured in chunks of max_positions, of a model that is %s', async (_, config) => {
    using runtime = openRuntime('baseline')
    const model = await LanguageModel.load(smallModelFiles(smallModel(config)), { runtime })
    const short = ids.slice(0, 70)
    const { choices } = await measureQuality(model, short)
    const expected = [short.slice(0, 32), short.slice(32, 64), short.slice(64)].map((chunk) => bestTokens(model, chunk))
    expect([...choices]).toEqual((await Promise.all(expected)).flat())
  })

  test('rejects with the reason of a signal', async () => {
    using runtime = openRuntime('baseline')
    const model = await LanguageModel.load(files, { runtime })
    const reason = new Error('enough')
    await expect(measureQuality(model, ids, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })
})

test('agreements are counted by position', () => {
  expect(countAgreements(Int32Array.of(1, 2, 3, 4), Int32Array.of(1, 3, 3, 5))).toBe(2)
  expect(countAgreements(new Int32Array(0), new Int32Array(0))).toBe(0)
})

test('the bits of activations can be changed afterwards', async () => {
  expect(withActivationBits(await quantizeModel(files), 14)).toEqual(await quantizeModel(files, { activationBits: 14 }))
})
