import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import type { EvaluateProgress } from '../../src/model/evaluate.js'
import type { GenerateOptions } from '../../src/model/generation/generate-options.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { referenceModel } from '../reference/index.js'
import { largestDifference } from '../support/compare.js'
import { expectRejects } from '../support/errors.js'
import { novelsFolder } from '../support/models.js'
import { openRuntime, type BuildName } from '../support/runtimes.js'
import {
  causalConfig,
  causalConfigs,
  loadSmallModel,
  poisonMemory,
  publishedConfig,
  publishedConfigs,
  randomTokens,
  smallModel,
  smallModelFiles,
  splits,
} from '../support/small-models.js'
import { runs } from '../support/seed.js'

const opened = new Map<string, Runtime>()

/** A runtime that many cases share; where there are several threads, memory holds NaN until it is written. */
function runtimeOf(build: BuildName, partitions: number): Runtime {
  const key = `${build} ${partitions}`
  const runtime = opened.get(key) ?? openRuntime(build, partitions)
  opened.set(key, runtime)
  if (partitions > 1) poisonMemory(runtime)
  return runtime
}

/** Row after row, bit for bit; NaN equals NaN. */
function isSame(actual: Float32Array, expected: Float32Array): boolean {
  const bytes = ({ buffer, byteOffset, byteLength }: Float32Array) => Buffer.from(buffer, byteOffset, byteLength)
  return bytes(actual).equals(bytes(expected))
}

afterAll(() => {
  for (const runtime of opened.values()) void runtime.dispose()
})

const texts = fc
  .integer({ min: 1, max: 90 })
  .chain((length) =>
    fc.record({ length: fc.constant(length), vocabulary: fc.integer({ min: 1, max: 40 }), seed: fc.nat(), cuts: splits(length) }),
  )

/** Few different tokens make ties of router scores. */
function tokensOf({ length, vocabulary, seed }: { length: number; vocabulary: number; seed: number }, numTokens: number): number[] {
  return randomTokens(length, Math.min(vocabulary, numTokens), seed)
}

const builds = fc.constantFrom<BuildName>('baseline', 'relaxed', 'checked-baseline', 'checked-relaxed')
const partitionCounts = fc.integer({ min: 2, max: 4 })

describe('any model, on any number of threads,', () => {
  test('any split of a text into appends gives the bits of one forward, saved and restored at every cut', async () => {
    const configs = fc.oneof({ weight: 3, arbitrary: causalConfigs }, { weight: 1, arbitrary: publishedConfigs })
    await fc.assert(
      fc.asyncProperty(configs, texts, builds, partitionCounts, async (config, text, build, partitions) => {
        const tokens = tokensOf(text, config.num_tokens)
        const one = await loadSmallModel(runtimeOf(build, 1), config, text.seed)
        const many = await loadSmallModel(runtimeOf(build, partitions), config, text.seed)
        try {
          const whole = await one.forward(tokens)
          expect(isSame((await many.forward(tokens)).data, whole.data)).toBe(true)
          const session = many.createSession()
          let moved = one.createSession()
          for (const size of text.cuts) {
            const chunk = tokens.slice(session.position, session.position + size)
            if (session.position + size === 0) continue
            const logits = await session.append(chunk)
            expect(isSame(await moved.append(chunk), logits)).toBe(true)
            const { position } = session
            const last = (position - 1) * config.num_tokens
            const expected = config.causal ? whole : await one.forward(tokens.slice(0, position))
            expect(isSame(logits, expected.data.subarray(last, last + config.num_tokens)), `after ${position} tokens`).toBe(true)
            const saved = moved.save()
            expect(Buffer.from(saved).equals(session.save())).toBe(true)
            moved.dispose()
            moved = (position % 2 ? one : many).restoreSession(saved)
          }
        } finally {
          one.dispose()
          many.dispose()
        }
      }),
      runs(60),
    )
  })

  test('a strictly causal forward over a prefix is a prefix of the whole forward', async () => {
    await fc.assert(
      fc.asyncProperty(causalConfigs, texts, fc.nat(), builds, partitionCounts, async (config, text, cut, build, partitions) => {
        const model = await loadSmallModel(runtimeOf(build, partitions), config, text.seed)
        try {
          const tokens = tokensOf(text, config.num_tokens)
          const length = cut % (tokens.length + 1)
          const [whole, start] = await Promise.all([model.forward(tokens), model.forward(tokens.slice(0, length))])
          expect(start.shape).toEqual([length, config.num_tokens])
          expect(isSame(start.data, whole.data.subarray(0, length * config.num_tokens))).toBe(true)
        } finally {
          model.dispose()
        }
      }),
      runs(40),
    )
  })

  // Where experts take all there is, no decision hangs on a last bit, and every output must agree closely.
  test('logits agree with the float64 reference if nothing has to be selected', async () => {
    const all = { num_routed_queries: 30, num_routed_key_values: 300 }
    const configs = fc.oneof(causalConfigs, publishedConfigs).map((config) => ({ ...config, ...all }))
    await fc.assert(
      fc.asyncProperty(configs, texts, builds, partitionCounts, async (config, text, build, partitions) => {
        const model = await loadSmallModel(runtimeOf(build, partitions), config, text.seed)
        try {
          const tokens = tokensOf(text, config.num_tokens)
          const expected = referenceModel(config, smallModel(config, text.seed).parameters, tokens)
          const { data } = await model.forward(tokens)
          const size = expected.data.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1)
          expect(largestDifference(data, expected.data) / size).toBeLessThan(2e-5)
        } finally {
          model.dispose()
        }
      }),
      runs(40),
    )
  })
})

/** -log2 p of each target, from logits. */
function bitsOf(logits: Float32Array, targets: readonly number[]): number[] {
  const numTokens = logits.length / targets.length
  return targets.map((target, row) => {
    const values = logits.subarray(row * numTokens, (row + 1) * numTokens)
    const largest = values.reduce((most, value) => Math.max(most, value), -Infinity)
    const sum = values.reduce((total, value) => total + Math.exp(value - largest), 0)
    return (largest + Math.log(sum) - values[target]!) / Math.LN2
  })
}

describe.each([
  ['strictly causal', causalConfig],
  ['published', publishedConfig],
] as const)('evaluating with a %s model', (_kind, config) => {
  const tokens = randomTokens(61, config.num_tokens, 5)

  test('is the mean of -log2 p over all tokens but the first, in independent chunks', async () => {
    const model = await loadSmallModel(runtimeOf('baseline', 2), config)
    for (const chunk of [1, 2, 7, 20, 30, 59, 60, 61, 1000, undefined]) {
      const bits: number[] = []
      const size = chunk ?? tokens.length
      for (let start = 0; start < 60; start += size) {
        const end = Math.min(start + size, 60)
        const { data } = await model.forward(tokens.slice(start, end))
        bits.push(...bitsOf(data, tokens.slice(start + 1, end + 1)))
      }
      const { bitsPerToken, tokens: count } = await model.evaluate(tokens, { chunk })
      expect(count).toBe(60)
      expect(bits).toHaveLength(60)
      expect(bitsPerToken).toBeCloseTo(bits.reduce((sum, value) => sum + value, 0) / 60, 6)
    }
    model.dispose()
  })

  test('predicts nothing if there are fewer than two tokens', async () => {
    const model = await loadSmallModel(runtimeOf('baseline', 2), config)
    for (const few of [[], [3], new Uint8Array(1)]) expect(await model.evaluate(few)).toEqual({ bitsPerToken: NaN, tokens: 0 })
    expect((await model.evaluate([3, 3])).tokens).toBe(1)
    model.dispose()
  })

  test('reports each chunk, with tokens done and in total', async () => {
    const model = await loadSmallModel(runtimeOf('baseline', 2), config)
    const events: EvaluateProgress[] = []
    await model.evaluate(tokens, { chunk: 25, onProgress: (event) => void events.push(event) })
    expect(events.filter(({ done }, i) => done > (events[i - 1]?.done ?? 0))).toEqual(events)
    expect(events.map(({ done }) => done)).toEqual(expect.arrayContaining([25, 50, 60]))
    for (const { type, total, done } of events)
      expect({ type, total, fits: done <= total }).toEqual({ type: 'evaluate', total: 60, fits: true })
    model.dispose()
  })
})

describe.each([
  ['strictly causal', causalConfig],
  ['published', publishedConfig],
] as const)('a %s model whose vocabulary is so large that the logits of a chunk are computed in parts', (_kind, config) => {
  test('gives for each token the logits of a forward that ends there, and evaluates accordingly', async () => {
    const numTokens = 60_000
    const model = await loadSmallModel(runtimeOf('baseline', 2), {
      ...config,
      num_tokens: numTokens,
      dim: 3,
      depth: 1,
      routed_window_size: 50,
    })
    const tokens = randomTokens(71, numTokens)
    const { data } = await model.forward(tokens.slice(0, 70))
    for (const length of [1, 17, 18, 49, 50, 51, 68, 70]) {
      const whole = config.causal ? data.subarray(0, length * numTokens) : (await model.forward(tokens.slice(0, length))).data
      expect(isSame(await model.createSession().append(tokens.slice(0, length)), whole.slice(-numTokens)), `after ${length}`).toBe(true)
    }
    const bits = bitsOf(data, tokens.slice(1))
    expect((await model.evaluate(tokens)).bitsPerToken).toBeCloseTo(bits.reduce((sum, value) => sum + value, 0) / 70, 6)
    model.dispose()
  })
})

/** A small model with novels-10m's tokenizer: it writes at random, broken characters too. */
async function loadWriter(config: Record<string, unknown> = {}, seed = 11): Promise<LanguageModel> {
  const model = smallModel({ ...causalConfig, num_tokens: 4096, depth: 1, num_experts: 1, ...config }, seed)
  const files = smallModelFiles(model).set('tokenizer.json', readFileSync(new URL('tokenizer.json', novelsFolder)))
  return LanguageModel.load(files, { runtime: runtimeOf('baseline', 1) })
}

async function write(model: LanguageModel, prompt: string | number[], options: GenerateOptions = {}) {
  const ids: number[] = []
  const chunks: string[] = []
  const logprobs: number[] = []
  for await (const { id, text, logprob } of model.generate(prompt, { maxTokens: 40, seed: 1, ...options })) {
    ids.push(id)
    chunks.push(text)
    logprobs.push(logprob)
  }
  return { ids, chunks, logprobs, text: chunks.join('') }
}

describe('generating', () => {
  test('yields texts that together are the decoding of all ids, for any bytes', async () => {
    const model = await loadWriter()
    for (let seed = 0; seed < 20; seed++) {
      const { ids, text, chunks } = await write(model, 'Once upon', { seed })
      expect(ids).toHaveLength(40)
      expect(text).toBe(model.tokenizer.decode(ids))
      for (const chunk of chunks.slice(0, -1)) expect(chunk).not.toMatch(/[\ud800-\udbff]$/)
    }
    model.dispose()
  })

  test('gives the same text for the same seed, from text or its ids, and a different one for another', async () => {
    const model = await loadWriter()
    const options = { seed: 7, temperature: 0.9, topK: 500, topP: 0.95 }
    const first = await write(model, 'Once upon a time', options)
    expect(await write(model, 'Once upon a time', options)).toEqual(first)
    expect(await write(model, model.tokenizer.encode('Once upon a time'), options)).toEqual(first)
    expect((await write(model, 'Once upon a time', { ...options, seed: 8 })).ids).not.toEqual(first.ids)
    expect((await write(model, 'Once upon a time', { ...options, seed: undefined })).ids).not.toEqual(first.ids)
    model.dispose()
  })

  test('reports ln p of each token under the model, whatever the sampling', async () => {
    const model = await loadWriter()
    const prompt = model.tokenizer.encode('A word')
    const { ids, logprobs } = await write(model, prompt, { temperature: 3, topK: 50, maxTokens: 10 })
    const all = [...prompt, ...ids]
    const { data } = await model.forward(all)
    const bits = bitsOf(data.slice(0, -4096), all.slice(1)).slice(prompt.length - 1)
    expect(
      largestDifference(
        logprobs,
        bits.map((value) => -value * Math.LN2),
      ),
    ).toBeLessThan(1e-5)
    model.dispose()
  })

  test('takes the most probable token at temperature 0 and for topK 1', async () => {
    const model = await loadWriter()
    const prompt = model.tokenizer.encode('A word')
    const { ids } = await write(model, prompt, { temperature: 0, maxTokens: 8 })
    expect((await write(model, prompt, { topK: 1, maxTokens: 8 })).ids).toEqual(ids)
    expect((await write(model, prompt, { topP: 1e-9, maxTokens: 8 })).ids).toEqual(ids)
    const session = model.createSession()
    let logits = await session.append(prompt)
    for (const id of ids) {
      expect(logits.indexOf(logits.reduce((most, value) => Math.max(most, value)))).toBe(id)
      logits = await session.append([id])
    }
    model.dispose()
  })

  test('generates at most maxTokens tokens, by default 256, and none for 0', async () => {
    const model = await loadWriter()
    expect((await write(model, 'A', { maxTokens: 0 })).ids).toEqual([])
    expect((await write(model, 'A', { maxTokens: 1 })).ids).toHaveLength(1)
    expect((await write(model, 'A', { maxTokens: undefined })).ids).toHaveLength(256)
    model.dispose()
  })

  test('stops before a stop text, which may begin in one token and end in another', async () => {
    const model = await loadWriter()
    const free = await write(model, 'Once', { maxTokens: 60 })
    const ends: number[] = []
    for (const chunk of free.chunks) ends.push((ends.at(-1) ?? 0) + chunk.length)
    const positions = Array.from({ length: free.text.length }, (_, i) => i)
    for (const start of positions) {
      for (const length of [1, 2, 5, 11]) {
        const stop = free.text.slice(start, start + length)
        if (stop.length < length || /[\ud800-\udfff]/.test(stop) || (start + length) % 7 > 0) continue
        const { text, ids } = await write(model, 'Once', { maxTokens: 60, stop: length === 1 ? stop : [stop, 'no such text here'] })
        const at = free.text.indexOf(stop)
        expect(text, JSON.stringify(stop)).toBe(free.text.slice(0, at))
        expect(ids).toEqual(free.ids.slice(0, ends.findIndex((end) => end >= at + length) + 1))
      }
    }
    model.dispose()
  })

  test('stops at whichever stop text is complete first, and yields everything if none occurs', async () => {
    const model = await loadWriter()
    const free = await write(model, 'Once', { maxTokens: 60 })
    const [late, early, long] = [free.text.slice(40, 44), free.text.slice(20, 24), free.text.slice(15, 30)]
    expect((await write(model, 'Once', { maxTokens: 60, stop: [late, long, early] })).text).toBe(
      free.text.slice(0, free.text.indexOf(early)),
    )
    const beginsOnly = [`${free.text.slice(-3)}x`, `${free.text.slice(10, 15)}\u0007`]
    expect(await write(model, 'Once', { maxTokens: 60, stop: beginsOnly })).toMatchObject({ text: free.text, ids: free.ids })
    expect(await write(model, 'Once', { maxTokens: 60, stop: [] })).toEqual(free)
    model.dispose()
  })

  test('reads its prompt and options at the call: changing them afterwards has no effect', async () => {
    const model = await loadSmallModel(runtimeOf('baseline', 1), causalConfig)
    const expected = await write(model, [1, 2, 3])
    for (const prompt of [[1, 2, 3], Uint8Array.of(1, 2, 3)]) {
      const options = { maxTokens: 40, seed: 1 }
      const generation = model.generate(prompt, options)
      prompt.fill(0)
      Object.assign(options, { maxTokens: 2, seed: 2 })
      const ids: number[] = []
      for await (const { id } of generation) ids.push(id)
      expect(ids).toEqual(expected.ids)
    }
    model.dispose()
  })

  test('has no text without a tokenizer, and needs none for ids', async () => {
    const model = await loadSmallModel(runtimeOf('baseline', 1), causalConfig)
    const { ids, text } = await write(model, [1, 2, 3])
    expect(ids).toHaveLength(40)
    expect(text).toBe('')
    await expectRejects(write(model, 'words'), 'UNSUPPORTED', /tokenizer/)
    await expectRejects(write(model, [1], { stop: 'x' }), 'UNSUPPORTED', /tokenizer/)
    model.dispose()
  })

  test('with a full-sequence model writes what forwards over all tokens would', async () => {
    const model = await loadSmallModel(runtimeOf('baseline', 2), publishedConfig)
    const { ids } = await write(model, [4, 2], { temperature: 0, maxTokens: 20 })
    const all = [4, 2]
    for (const id of ids) {
      const logits = (await model.forward(all)).data.slice(-23)
      expect(logits.indexOf(logits.reduce((most, value) => Math.max(most, value)))).toBe(id)
      all.push(id)
    }
    model.dispose()
  })
})
