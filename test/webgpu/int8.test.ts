import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { quantizeModel } from '../../src/model/quantization/quantize-model.js'
import { expectSameBits } from '../kernels/float32.js'
import { widen } from '../support/int8-models.js'
import { logitsOf } from '../support/narrow-models.js'
import { causalConfig, publishedConfig, randomTokens, smallModel, smallModelFiles } from '../support/small-models.js'
import { noAdapter, openGpuRuntime } from './gpu.js'

describe.skipIf(noAdapter)('int8 weights on a GPU', () => {
  let runtime: Runtime
  beforeAll(async () => {
    runtime = (await openGpuRuntime()).runtime
  })
  afterAll(() => runtime.dispose())

  test.each([causalConfig, publishedConfig])(
    'are the float32 weights that they represent, whatever the bits of activations (causal: $causal)',
    async (config) => {
      const ids = randomTokens(9, config.num_tokens)
      const files = smallModelFiles(smallModel(config))
      const quantized = await quantizeModel(files)
      const expected = await logitsOf(runtime, widen(quantized).files, ids)
      for (const model of [quantized, await quantizeModel(files, { activationBits: 14 })]) {
        const found = await logitsOf(runtime, model, ids)
        expectSameBits(found.all, expected.all)
        expectSameBits(found.last, expected.last)
        expect(found.bytes).toBe(expected.bytes)
      }
    },
    400_000,
  )
})
