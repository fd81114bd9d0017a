import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { expectSameBits } from '../kernels/float32.js'
import { logitsOf, narrowModelFiles } from '../support/narrow-models.js'
import { causalConfig, randomTokens } from '../support/small-models.js'
import { noAdapter, openGpuRuntime } from './gpu.js'

/**
 * Bits of some weights that are easily lost: subnormals of either sign, the largest one, the smallest normal one,
 * zeros.
 */
const delicate = { F16: [0x0001, 0x8001, 0x03ff, 0x0400, 0x8000, 0x0000], BF16: [0x0080, 0x8080, 0x3f80, 0x8000, 0x0000] }

describe.skipIf(noAdapter)('16-bit weights on a GPU', () => {
  let runtime: Runtime
  beforeAll(async () => {
    runtime = (await openGpuRuntime()).runtime
  })
  afterAll(() => runtime.dispose())

  test.each(['F16', 'BF16'] as const)(
    'give the logits of the same values in float32: %s',
    async (dtype) => {
      const config = { ...causalConfig, depth: 1, dim: 64, num_tokens: 64, max_positions: 64 }
      const ids = randomTokens(9, config.num_tokens)
      const change = (bits: Map<string, Uint16Array>) => {
        for (const weights of bits.values()) if (weights.length > 64) weights.set(delicate[dtype], 7)
      }
      const narrow = await logitsOf(runtime, narrowModelFiles(config, dtype, 'narrow', change), ids)
      const widened = await logitsOf(runtime, narrowModelFiles(config, dtype, 'wide', change), ids)
      expectSameBits(narrow.all, widened.all)
      expectSameBits(narrow.last, widened.last)
      expect(narrow.bytes).toBeLessThan(0.75 * widened.bytes)
    },
    400_000,
  )
})
