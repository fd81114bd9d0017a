import { describe, expect, test } from 'vitest'
import { LanguageModel } from '../../src/model/language-model.js'
import { largestDifference } from '../support/compare.js'
import { modelCases } from '../support/golden.js'
import { expectGoldenModel } from '../support/golden-checks.js'
import { loadNovels, novels2Folder, novelsGolden, treasureIsland } from '../support/models.js'
import { allBuilds, openRuntime, releaseBuilds } from '../support/runtimes.js'

describe.each(allBuilds)('on the %s build', (build) => {
  test.each(modelCases().map((golden) => [golden.name, golden] as const))(
    'the small model %s reproduces its golden values',
    async (_name, golden) => {
      using runtime = openRuntime(build)
      await expectGoldenModel(runtime, golden)
    },
  )

  test('novels-10m gives its golden logits and bits', async () => {
    using runtime = openRuntime(build)
    const model = await loadNovels(runtime)
    const golden = novelsGolden()
    const logits = await model.forward(golden.inputIds)
    expect(largestDifference(logits.data.subarray(-golden.logits.length), golden.logits)).toBeLessThan(2e-3)
    const { bitsPerToken, tokens } = await model.evaluate(golden.inputIds)
    expect(tokens).toBe(699)
    expect(bitsPerToken).toBeCloseTo(golden.bits.reduce((sum, bits) => sum + bits, 0) / 699, 4)
  })

  test('novels-10m writes its 64 golden greedy tokens', async () => {
    using runtime = openRuntime(build)
    const model = await loadNovels(runtime)
    const golden = novelsGolden()
    const ids: number[] = []
    for await (const token of model.generate(golden.promptIds, { maxTokens: 64, temperature: 0 })) ids.push(token.id)
    expect(ids).toEqual(golden.greedyIds)
  })
})

describe.each(releaseBuilds)('on the %s build', (build) => {
  test('novels-10m-v2, routed in its last two blocks, gives its golden logits, bits and greedy tokens', async () => {
    using runtime = openRuntime(build)
    const model = await LanguageModel.load(novels2Folder, { runtime })
    expect(model.config.routedLayers).toEqual([4, 5])
    expect(model.numParameters).toBe(9_724_160)
    const golden = novelsGolden(novels2Folder)
    const logits = await model.forward(golden.inputIds)
    expect(largestDifference(logits.data.subarray(-golden.logits.length), golden.logits)).toBeLessThan(2e-3)
    const { bitsPerToken } = await model.evaluate(golden.inputIds)
    expect(bitsPerToken).toBeCloseTo(golden.bits.reduce((sum, bits) => sum + bits, 0) / 699, 4)
    const ids: number[] = []
    for await (const token of model.generate(golden.promptIds, { maxTokens: 32, temperature: 0 })) ids.push(token.id)
    expect(ids).toEqual(golden.greedyIds)
  })

  test('Treasure Island takes 5.239069 bits per token, in chunks of 2048', async () => {
    using runtime = openRuntime(build)
    const model = await loadNovels(runtime)
    const ids = treasureIsland(model)
    expect(ids).toHaveLength(106_987)
    const { bitsPerToken, tokens } = await model.evaluate(ids, { chunk: 2048 })
    expect(tokens).toBe(106_986)
    expect(Math.abs(bitsPerToken - 5.239069)).toBeLessThan(0.00002)
  }, 900_000)
})
