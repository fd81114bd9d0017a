import { beforeAll, describe, expect, test } from 'vitest'
import { createRuntime } from '../../src/device/create-runtime.js'
import type { Runtime } from '../../src/device/runtime.js'
import { expectSameBits } from '../kernels/float32.js'
import { formats, logitsOf, narrowModelFiles } from '../support/narrow-models.js'
import { causalConfig, publishedConfig, randomTokens } from '../support/small-models.js'

let runtime: Runtime
beforeAll(async () => {
  runtime = await createRuntime({ threads: 1 })
})

// 64 columns: whole groups of panels, which a single row reads as they are
const wide = { dim: 64, num_tokens: 64, max_positions: 64 }

describe.each(['F16', 'BF16'] as const)('a model in %s', (dtype) => {
  test.each([
    ['strictly causal', { ...causalConfig, ...wide }],
    ['published', { ...publishedConfig, ...wide }],
    ['odd sizes', causalConfig],
  ])('has the logits of the same values in float32, in about half the memory: %s', async (_name, config) => {
    const ids = randomTokens(40, config.num_tokens)
    const narrow = await logitsOf(runtime, narrowModelFiles(config, dtype, 'narrow'), ids)
    const widened = await logitsOf(runtime, narrowModelFiles(config, dtype, 'wide'), ids)
    expectSameBits(narrow.all, widened.all)
    expectSameBits(narrow.last, widened.last)
    expect(narrow.bytes).toBeLessThan(0.75 * widened.bytes)
  })

  test.each([
    ['infinity', Infinity],
    ['NaN', NaN],
  ])('may hold %s: everything else has the same bits', async (_name, value) => {
    const config = { ...causalConfig, ...wide }
    // the last row of the head: one column of logits
    const change = (bits: Map<string, Uint16Array>) => {
      const head = bits.get('to_logits.1.weight')!
      head[head.length - 1] = formats[dtype].toBits(value)
    }
    const ids = randomTokens(20, config.num_tokens)
    const narrow = await logitsOf(runtime, narrowModelFiles(config, dtype, 'narrow', change), ids)
    const widened = await logitsOf(runtime, narrowModelFiles(config, dtype, 'wide', change), ids)
    const reached = (_: number, index: number) => index % config.num_tokens !== config.num_tokens - 1
    expectSameBits(narrow.all.filter(reached), widened.all.filter(reached))
    expect(narrow.all.some((logit) => !Number.isFinite(logit))).toBe(true)
  })
})
