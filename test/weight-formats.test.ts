import { beforeAll, describe, expect, test } from 'vitest'
import { createRuntime, type Runtime } from '../src/device/runtime.js'
import { LanguageModel } from '../src/model/language-model.js'
import { expectSameBits } from './kernels/float32.js'
import { causalConfig, publishedConfig, randomTokens, smallModel } from './support/small-models.js'
import { bitsOf, floatOf, fromHalf, toHalf } from './support/halves.js'
import { type Entry, writeSafetensors } from './support/write-safetensors.js'

const formats = {
  F16: { toBits: toHalf, toValue: fromHalf },
  BF16: { toBits: (value: number) => bitsOf(value) >>> 16, toValue: (bits: number) => floatOf(bits << 16) },
}
type Dtype = keyof typeof formats

let runtime: Runtime
beforeAll(async () => {
  runtime = await createRuntime({ threads: 1 })
})

/** A model's files with every value rounded to 16 bits, stored as these or as the float32 of the same value. */
function filesOf(
  config: Record<string, unknown>,
  dtype: Dtype,
  stored: 'narrow' | 'wide',
  change: (bits: Map<string, Uint16Array>) => void,
) {
  const { toBits, toValue } = formats[dtype]
  const { parameters } = smallModel(config)
  const bits = new Map([...parameters].map(([name, { data }]) => [name, Uint16Array.from(data, toBits)]))
  change(bits)
  const entries: Record<string, Entry> = {}
  for (const [name, { shape }] of parameters) {
    const halves = bits.get(name)!
    const values = stored === 'narrow' ? halves : Float32Array.from(halves, toValue)
    entries[name] = { dtype: stored === 'narrow' ? dtype : 'F32', shape: [...shape], bytes: new Uint8Array(values.buffer) }
  }
  return new Map([
    ['config.json', new TextEncoder().encode(JSON.stringify(config))],
    ['model.safetensors', writeSafetensors(entries)],
  ])
}

async function logitsOf(files: Map<string, Uint8Array>, ids: number[]): Promise<{ all: Float32Array; bytes: number; last: Float32Array }> {
  const before = runtime.info.memory.used
  const model = await LanguageModel.load(files, { runtime })
  try {
    const bytes = runtime.info.memory.used - before
    const { data: all } = await model.forward(ids)
    const session = model.createSession()
    for (const id of ids.slice(0, -1)) await session.append([id])
    return { all, bytes, last: await session.append(ids.slice(-1)) }
  } finally {
    model.dispose()
  }
}

// 64 columns: whole groups of panels, which a single row reads as they are
const wide = { dim: 64, num_tokens: 64, max_positions: 64 }

describe.each(['F16', 'BF16'] as const)('a model in %s', (dtype) => {
  test.each([
    ['strictly causal', { ...causalConfig, ...wide }],
    ['published', { ...publishedConfig, ...wide }],
    ['odd sizes', causalConfig],
  ])('has the logits of the same values in float32, in about half the memory: %s', async (_name, config) => {
    const ids = randomTokens(40, config.num_tokens)
    const narrow = await logitsOf(
      filesOf(config, dtype, 'narrow', () => undefined),
      ids,
    )
    const widened = await logitsOf(
      filesOf(config, dtype, 'wide', () => undefined),
      ids,
    )
    expectSameBits(narrow.all, widened.all)
    expectSameBits(narrow.last, widened.last)
    expect(narrow.bytes).toBeLessThan(0.75 * widened.bytes)
  })

  test.each([
    ['infinity', Infinity],
    ['NaN', NaN],
  ])('may hold %s: what it does not reach has the same bits', async (_name, value) => {
    const config = { ...causalConfig, ...wide }
    // the last row of the head: one column of logits
    const change = (bits: Map<string, Uint16Array>) => {
      const head = bits.get('to_logits.1.weight')!
      head[head.length - 1] = formats[dtype].toBits(value)
    }
    const ids = randomTokens(20, config.num_tokens)
    const narrow = await logitsOf(filesOf(config, dtype, 'narrow', change), ids)
    const widened = await logitsOf(filesOf(config, dtype, 'wide', change), ids)
    const reached = (_: number, index: number) => index % config.num_tokens !== config.num_tokens - 1
    expectSameBits(narrow.all.filter(reached), widened.all.filter(reached))
    expect(narrow.all.some((logit) => !Number.isFinite(logit))).toBe(true)
  })
})
