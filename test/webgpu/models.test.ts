import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { modelCases } from '../support/golden.js'
import { expectGoldenModel } from '../support/golden-checks.js'
import { loadNovels, novelsGolden } from '../support/models.js'
import { noAdapter, openGpuRuntime } from './gpu.js'

describe.skipIf(noAdapter)('on a GPU', () => {
  let runtime: Runtime
  beforeAll(async () => void ({ runtime } = await openGpuRuntime({ chunkRows: 512 })))
  afterAll(() => runtime.dispose())

  test.each(modelCases().map((golden) => [golden.name, golden] as const))(
    'the small model %s reproduces its golden values, to the bit however its tokens are split',
    (_name, golden) => expectGoldenModel(runtime, golden),
    600_000,
  )

  test('novels-10m gives its golden logits and bits, and continues with its golden greedy tokens', async () => {
    using model = await loadNovels(runtime)
    const golden = novelsGolden()
    const { bitsPerToken } = await model.evaluate(golden.inputIds)
    expect(bitsPerToken).toBeCloseTo(golden.bits.reduce((sum, bits) => sum + bits, 0) / 699, 3)
    const ids: number[] = []
    for await (const token of model.generate(golden.promptIds, { maxTokens: 8, temperature: 0 })) ids.push(token.id)
    expect(ids).toEqual(golden.greedyIds.slice(0, 8))
  }, 600_000)
})
