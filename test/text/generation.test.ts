import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import type { GenerateOptions, GeneratedToken, LanguageModel, PromptProgress } from '../../src/index.js'
import { LanguageModel as Model } from '../../src/index.js'
import { createTokenizer } from '../../src/io/tokenizer.js'
import { createRandom } from '../../src/random.js'
import { expectRejects, expectThrows } from '../support/errors.js'
import { afterRun, outcomeOf } from '../support/interruptions.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, loadSmallModel, publishedConfig, randomTokens, smallModel, smallModelFiles } from '../support/small-models.js'
import { tokenizerFiles } from '../support/tokenizer-files.js'

vi.setConfig({ testTimeout: 120_000 })

const V = causalConfig.num_tokens
const prompt = randomTokens(12, V, 5)
const kinds = [
  ['strictly causal', causalConfig],
  ['published', publishedConfig],
] as const
const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))

async function collect(tokens: AsyncIterable<GeneratedToken>): Promise<GeneratedToken[]> {
  const all: GeneratedToken[] = []
  for await (const token of tokens) all.push(token)
  return all
}

const idsOf = (tokens: readonly GeneratedToken[]) => tokens.map(({ id }) => id)

/** A model with a tokenizer.json of one of the kinds, and two tokens more than that names. */
async function loadWith(runtime: ReturnType<typeof openRuntime>, family: string): Promise<LanguageModel> {
  const { size } = await createTokenizer(JSON.stringify(tokenizerFiles[family]))
  const files = smallModelFiles(smallModel({ ...causalConfig, num_tokens: size + 2 }))
  return Model.load(files.set('tokenizer.json', json(tokenizerFiles[family])), { runtime })
}

/** What the options say, computed plainly in float64; the draws are those of the same random numbers. */
class PlainSampler {
  readonly #random: () => number

  constructor(
    private readonly options: GenerateOptions,
    private readonly prompt: readonly number[],
  ) {
    const random = createRandom(options.seed)
    this.#random = () => random.uniform()
  }

  async next(given: Float32Array, written: readonly number[]) {
    const { repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0, logitBias = {}, logitsProcessor } = this.options
    const { temperature = 1, topK = Infinity, topP = 1, minP = 0 } = this.options
    let logits = [...given]
    // transformers v4.57, generation/logits_process.py: torch.where(score < 0, score * self.penalty, score /
    // self.penalty)
    for (const id of new Set([...this.prompt, ...written])) {
      logits[id] = logits[id]! < 0 ? logits[id]! * repetitionPenalty : logits[id]! / repetitionPenalty
    }
    // vLLM v0.11, model_executor/layers/utils.py: logits -= frequency_penalties * output_bin_counts; logits -=
    // presence_penalties * output_mask
    for (const id of new Set(written)) {
      logits[id]! -= frequencyPenalty * written.filter((other) => other === id).length + presencePenalty
    }
    for (const [id, value] of logitBias instanceof Map ? logitBias : Object.entries(logitBias)) logits[Number(id)]! += value
    const row = Float32Array.from(logits)
    await logitsProcessor?.(row, [...this.prompt, ...written])
    logits = [...row]

    const logSum = Math.log(given.reduce((sum, logit) => sum + Math.exp(logit), 0))
    const logprobs = Array.from(given, (logit) => logit - logSum)
    const order = logits.map((_, id) => id).sort((a, b) => logits[b]! - logits[a]! || a - b)
    if (temperature === 0) return { allowed: [order[0]!], logprobs }
    const weights = logits.map((logit) => Math.exp((logit - logits[order[0]!]!) / temperature))
    const kept = order.slice(0, topK)
    const total = kept.reduce((sum, id) => sum + weights[id]!, 0)
    let sum = 0
    const nucleus = kept.filter((id) => {
      const isIn = sum < topP * total * (1 + 1e-9)
      sum += weights[id]!
      return isIn && weights[id]! > 0
    })
    this.#random()
    return { allowed: nucleus.filter((id) => weights[id]! >= minP * (1 - 1e-6)), logprobs }
  }
}

const anyOptions: fc.Arbitrary<GenerateOptions> = fc.record(
  {
    temperature: fc.oneof(fc.constant(0), fc.double({ min: 0.1, max: 3, noNaN: true })),
    topK: fc.integer({ min: 1, max: V + 2 }),
    topP: fc.double({ min: 0.05, max: 1, noNaN: true }),
    minP: fc.double({ min: 0, max: 1, noNaN: true }),
    repetitionPenalty: fc.double({ min: 0.5, max: 3, noNaN: true }),
    frequencyPenalty: fc.double({ min: -2, max: 2, noNaN: true }),
    presencePenalty: fc.double({ min: -2, max: 2, noNaN: true }),
    logitBias: fc.dictionary(fc.nat(V - 1).map(String), fc.oneof(fc.double({ min: -5, max: 5, noNaN: true }), fc.constant(-Infinity)), { maxKeys: 5 }), // prettier-ignore
    topLogprobs: fc.integer({ min: 0, max: 30 }),
    seed: fc.integer(),
  },
  { requiredKeys: ['seed'] },
)

describe.each(kinds)('generating with a %s model', (_kind, config) => {
  test('samples like a plain sampler, for any options', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    await fc.assert(
      fc.asyncProperty(anyOptions, async (options) => {
        const plain = new PlainSampler(options, prompt)
        const written: number[] = []
        for await (const { id, logprob, topLogprobs, finishReason } of model.generate(prompt, { ...options, maxTokens: 6 })) {
          const logits = await model.forward([...prompt, ...written])
          const { allowed, logprobs } = await plain.next(logits.data.slice(-V), written)
          expect(allowed).toContain(id)
          expect(logprob).toBeCloseTo(logprobs[id]!, 5)
          if (options.topLogprobs) {
            const best = logprobs.map((logprob, id) => ({ id, logprob })).sort((a, b) => b.logprob - a.logprob || a.id - b.id)
            expect(topLogprobs!.map(({ id }) => id)).toEqual(best.slice(0, options.topLogprobs).map(({ id }) => id))
            for (const top of topLogprobs!) expect(top.logprob).toBeCloseTo(logprobs[top.id]!, 5)
          } else expect(topLogprobs).toBeUndefined()
          written.push(id)
          expect(finishReason).toBe(written.length === 6 ? 'length' : null)
        }
        expect(written).toHaveLength(6)
      }),
      { numRuns: 40 },
    )
  })

  test('gives a processor its own copy of the logits to modify, and waits for it', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    const session = model.createSession()
    const seen: number[][] = []
    const wanted = [3, 1, 4, 1, 5]
    const logitsProcessor = async (logits: Float32Array, ids: readonly number[]) => {
      seen.push([...ids])
      await new Promise((resolve) => setTimeout(resolve, 1))
      expect(logits).toHaveLength(V)
      logits.fill(-Infinity)
      logits[wanted[seen.length - 1]!] = 0
    }
    const tokens = await collect(session.generate(prompt, { maxTokens: 5, logitsProcessor, seed: 1, topLogprobs: 1 }))
    expect(idsOf(tokens)).toEqual(wanted)
    expect(seen).toEqual(wanted.map((_, made) => [...prompt, ...wanted.slice(0, made)]))
    const plain = model.createSession()
    expect(await session.append([])).toEqual(await plain.append([...prompt, ...wanted]))
    for (const { logprob } of tokens) expect(logprob).toBeLessThan(0)

    const thrown = new Error('no')
    const refusing = { logitsProcessor: () => Promise.reject(thrown) }
    expect(await outcomeOf(model.generate(prompt, refusing).next())).toEqual({ reason: thrown })
    const forbidding = { logitsProcessor: (logits: Float32Array) => void logits.fill(-Infinity) }
    await expectRejects(model.generate(prompt, forbidding).next(), 'NUMERIC', /forbid every token/)
    const muddling = { logitsProcessor: (logits: Float32Array) => void logits.fill(NaN, 2) }
    await expectRejects(model.generate(prompt, muddling).next(), 'NUMERIC', /produced NaN/)
    const bias = Object.fromEntries(Array.from({ length: V }, (_, id) => [id, -Infinity]))
    await expectRejects(model.complete(prompt, { logitBias: bias }), 'NUMERIC')
    await expectRejects(model.complete(prompt, { repetitionPenalty: 1e-300 }), 'NUMERIC', /penalties/)
    for (const keyless of [new Set([1]), new Date(), [1], null]) {
      expectThrows(() => model.generate(prompt, { logitBias: keyless as never }), 'BAD_ARGUMENT', /logitBias must be a Map or a record/)
    }
    await expectRejects(model.complete(prompt, { logitsProcessor: (logits) => void structuredClone(logits, { transfer: [logits.buffer] }) }), 'BAD_ARGUMENT') // prettier-ignore
  })

  test('treats earlier ids as part of the prompt, as a copied session needs', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    const read = model.createSession()
    await read.append(prompt)
    const seen: number[][] = []
    const logitsProcessor = (_: Float32Array, ids: readonly number[]) => void seen.push([...ids])
    const options = { maxTokens: 12, seed: 9, repetitionPenalty: 2.5, presencePenalty: 0.5, logitsProcessor }
    const whole = await collect(model.generate(prompt, options))
    const copied = await collect(read.clone().generate(null, { ...options, earlierIds: prompt }))
    expect(copied).toEqual(whole)
    expect(seen.slice(12)).toEqual(seen.slice(0, 12))
    const parted = model.createSession()
    await parted.append(prompt.slice(0, 5))
    expect(await collect(parted.generate(prompt.slice(5), { ...options, earlierIds: Uint8Array.from(prompt.slice(0, 5)) }))).toEqual(whole)
    // without them the penalty does not reach the prompt
    expect(await collect(read.clone().generate(null, options))).not.toEqual(whole)
    expectThrows(
      () => read.generate(null, { earlierIds: [V] }),
      'BAD_ARGUMENT',
      /earlierIds: token id 0 must be an integer from 0 to 22, got 23/,
    )
  })

  test('reports why it ended, and what it read and wrote', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    const options = { maxTokens: 8, seed: 3 }
    const all = await collect(model.generate(prompt, options))
    expect(all.map(({ finishReason }) => finishReason)).toEqual([...new Array<null>(7).fill(null), 'length'])
    const stopAt = all.findIndex(({ id }, index) => idsOf(all).indexOf(id) === index && index > 1)
    const stopped = await collect(model.generate(prompt, { ...options, stopTokenIds: [all[stopAt]!.id] }))
    expect(idsOf(stopped)).toEqual(idsOf(all).slice(0, stopAt + 1))
    expect(stopped.at(-1)).toMatchObject({ text: '', finishReason: 'stop' })
    // where both are so, it stopped
    const both = await collect(model.generate(prompt, { ...options, maxTokens: stopAt + 1, stopTokenIds: [all[stopAt]!.id] }))
    expect(both.at(-1).finishReason).toBe('stop')

    expect(await model.complete(prompt, options)).toEqual({ text: '', ids: idsOf(all), finishReason: 'length', usage: { promptTokens: 12, completionTokens: 8 } }) // prettier-ignore
    expect(await model.complete(prompt, { ...options, stopTokenIds: [all[stopAt]!.id] })).toMatchObject({
      ids: idsOf(stopped),
      finishReason: 'stop',
      usage: { completionTokens: stopAt + 1 },
    })
    expect(await model.complete(prompt, { maxTokens: 0 })).toEqual({ text: '', ids: [], finishReason: 'length', usage: { promptTokens: 12, completionTokens: 0 } }) // prettier-ignore
  })

  test('reports how far it has read the prompt', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    for (const length of [1, 12, 600]) {
      const events: PromptProgress[] = []
      await model.complete(randomTokens(length, V), { maxTokens: 2, onProgress: (event) => events.push(event) })
      expect(events.at(-1)).toEqual({ type: 'prompt', done: length, total: length })
      expect(events.every(({ done }, i) => done > (events[i - 1]?.done ?? 0))).toBe(true)
      if (length === 600) expect(events.length).toBeGreaterThan(1)
    }
    const thrown = new Error('enough')
    const onProgress = () => {
      throw thrown
    }
    expect(await outcomeOf(model.generate(prompt, { onProgress }).next())).toEqual({ reason: thrown })
  })
})

describe('the end of text', () => {
  const files = (config: object, generation?: unknown) => {
    const files = smallModelFiles(smallModel({ ...causalConfig, ...config }))
    if (generation !== undefined) files.set('generation_config.json', typeof generation === 'string' ? new TextEncoder().encode(generation) : json(generation)) // prettier-ignore
    return files
  }

  test('is defined by generation_config.json, or else config.json', async () => {
    using runtime = openRuntime('baseline')
    const eosOf = async (config: object, generation?: unknown) => (await Model.load(files(config, generation), { runtime })).eosTokenIds
    expect(await eosOf({})).toEqual([])
    expect(await eosOf({ eos_token_id: 3 })).toEqual([3])
    expect(await eosOf({ eos_token_id: null })).toEqual([])
    expect(await eosOf({ eos_token_id: 3 }, {})).toEqual([3])
    expect(await eosOf({ eos_token_id: 3 }, { eos_token_id: null })).toEqual([3])
    expect(await eosOf({ eos_token_id: 3 }, { eos_token_id: [5, 0], bos_token_id: 'x' })).toEqual([5, 0])
    for (const bad of [-1, V, 1.5, '3', [3, V], [null], {}, true]) {
      await expectRejects(eosOf({ eos_token_id: bad }), 'BAD_CONFIG', /^config\.json: eos_token_id/)
      await expectRejects(eosOf({}, { eos_token_id: bad }), 'BAD_CONFIG', /generation_config\.json: eos_token_id/)
    }
    await expectRejects(eosOf({}, '{'), 'BAD_FILE', /generation_config\.json/)
    await expectRejects(eosOf({}, [3]), 'BAD_CONFIG', /generation_config\.json must hold an object/)
  })

  test('ends a generation, unless it is ignored', async () => {
    using runtime = openRuntime('baseline')
    const plain = await Model.load(files({}), { runtime })
    const options = { maxTokens: 20, seed: 3 }
    const all = idsOf(await collect(plain.generate(prompt, options)))
    const [first, second] = [all[4]!, all[9]!]
    const model = await Model.load(files({}, { eos_token_id: [first, second] }), { runtime })
    const ended = await collect(model.generate(prompt, options))
    const end = all.findIndex((id) => id === first || id === second)
    expect(idsOf(ended)).toEqual(all.slice(0, end + 1))
    expect(ended.at(-1)).toMatchObject({ text: '', finishReason: 'stop' })
    expect(idsOf(await collect(model.generate(prompt, { ...options, ignoreEos: true })))).toEqual(all)
    const other = await collect(model.generate(prompt, { ...options, ignoreEos: true, stopTokenIds: Uint8Array.of(all[2]!) }))
    expect(other.length).toBeLessThan(4)
    // it is no part of what a session belongs to
    plain.restoreSession(model.createSession().save())
  })
})

describe('the text of a generation', () => {
  const cases = Object.keys(tokenizerFiles).map((family) => [family] as const)

  test.each(cases)('continues the prompt, and is complete before a stop token (%s)', async (family) => {
    using runtime = openRuntime('baseline')
    const model = await loadWith(runtime, family)
    const { tokenizer } = model
    const { numTokens } = model.config
    const word = Array.from({ length: numTokens }, (_, id) => id).find((id) => tokenizer.decode([id]).trim() === 'sea')!
    await fc.assert(
      fc.asyncProperty(fc.integer(), fc.array(fc.nat(numTokens - 1), { maxLength: 30 }), async (seed, stopTokenIds) => {
        const before = [word, ...randomTokens(3, numTokens, seed), word]
        const stop = new Set(stopTokenIds)
        const tokens = await collect(model.generate(before, { seed, maxTokens: 25, stopTokenIds }))
        const ids = idsOf(tokens).filter((id) => !stop.has(id))
        expect(tokenizer.decode(before) + tokens.map(({ text }) => text).join('')).toBe(tokenizer.decode([...before, ...ids]))
        for (const { id, text } of tokens) if (stop.has(id)) expect(text).toBe('')
        const ended = tokens.at(-1)
        expect(ended.finishReason).toBe(stop.has(ended.id) ? 'stop' : 'length')
        expect(tokens.slice(0, -1).every(({ finishReason }) => finishReason === null)).toBe(true)

        // the same, a few tokens at a time
        const session = model.createSession()
        const texts: string[] = []
        let next: number[] | null = before
        for (let left = ids.length, random = 1; left > 0; random++) {
          const part = Math.min(left, 1 + (random % 4))
          const forced = ids.slice(ids.length - left)
          const logitsProcessor = (logits: Float32Array, written: readonly number[]) => {
            const id = forced[written.length - (next?.length ?? 0)]!
            logits.fill(-Infinity)
            logits[id] = 0
          }
          for await (const { text } of session.generate(next, { maxTokens: part, logitsProcessor })) texts.push(text)
          next = null
          left -= part
        }
        // where parts end inside a character or a run of bytes, the text of each part is its own
        const whole = tokenizer.decode([...before, ...ids])
        if (!/\ufffd|[^\u0000-\u007f]/.test(whole)) expect(tokenizer.decode(before) + texts.join('')).toBe(whole)
        session.dispose()
      }),
      { numRuns: 12 },
    )
  })

  test('continues prompts of any length', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadWith(runtime, 'GPT-2')
    const session = model.createSession()
    // more ids than a call takes arguments
    const prompt = new Int32Array(300_000).fill(0x61)
    const begun = new Error('the prompt is being read')
    const onProgress = () => {
      throw begun
    }
    await session.append([1])
    expect(await outcomeOf(session.generate(prompt, { onProgress }).next())).toEqual({ reason: begun })
    expect(session.position).toBe(1)
  })

  test('continues appends that were pending when it was called', async () => {
    for (const family of Object.keys(tokenizerFiles)) {
      using runtime = openRuntime('baseline')
      const model = await loadWith(runtime, family)
      // the tokens of words come last
      const ids = Array.from({ length: 20 }, (_, index) => model.config.numTokens - 3 - (index % 6))
      const logitBias = Object.fromEntries(ids.map((id) => [id, 10]))
      const textBehind = async (wait: boolean) => {
        using session = model.createSession()
        const pending = session.append(ids)
        if (wait) await pending
        const written = await collect(session.generate(null, { maxTokens: 6, seed: 3, logitBias }))
        await pending
        return written
      }
      expect(await textBehind(false)).toEqual(await textBehind(true))
    }
  })

  test('is rejected at the call if a token of the prompt is outside the vocabulary', async () => {
    using runtime = openRuntime('baseline')
    const file = tokenizerFiles[Object.keys(tokenizerFiles)[0]!] as { added_tokens?: object[] }
    const { size } = await createTokenizer(JSON.stringify(file))
    const pad = { id: size, content: '[PAD]', single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
    const files = smallModelFiles(smallModel({ ...causalConfig, num_tokens: size }))
    files.set('tokenizer.json', json({ ...file, added_tokens: [...(file.added_tokens ?? []), pad] }))
    const model = await Model.load(files, { runtime })
    expectThrows(() => model.generate('[PAD]'), 'BAD_ARGUMENT', /token id \d+ must be/)
    expectThrows(() => model.createSession().generate('[PAD]'), 'BAD_ARGUMENT', /token id \d+ must be/)
    await expectRejects(model.complete('[PAD]'), 'BAD_ARGUMENT', /token id \d+ must be/)
  })

  test('reports that a stop text ended it', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadWith(runtime, 'GPT-2')
    const options = { seed: 2, maxTokens: 60 }
    const whole = await model.complete('the sea', options)
    const stop = [...whole.text][5]!
    const tokens = await collect(model.generate('the sea', { ...options, stop }))
    expect(tokens.map(({ text }) => text).join('')).toBe(whole.text.slice(0, whole.text.indexOf(stop)))
    expect(tokens.at(-1).finishReason).toBe('stop')
    expect((await model.complete('the sea', { ...options, stop })).finishReason).toBe('stop')
  })
})

describe.each(kinds)('a session of a %s model that generates', (_kind, config) => {
  const setUp = async (fields: object = {}) => {
    const runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, { ...config, ...fields })
    return { runtime, model, session: model.createSession(), [Symbol.dispose]: () => void runtime.dispose() }
  }
  const logitsAfter = async (model: LanguageModel, ids: readonly number[]) => (await model.forward(ids)).data.slice(-V)

  test('continues from its position, and has read all of the text afterwards', async () => {
    using made = await setUp()
    const { model, session } = made
    await session.append(prompt.slice(0, 5))
    const first = idsOf(await collect(session.generate(prompt.slice(5), { maxTokens: 4, seed: 1 })))
    expect(first).toEqual(idsOf(await collect(model.generate(prompt, { maxTokens: 4, seed: 1 }))))
    expect(session.position).toBe(prompt.length + 4)
    const second = idsOf(await collect(session.generate(null, { maxTokens: 3, seed: 2 })))
    expect(second).toEqual(idsOf(await collect(model.generate([...prompt, ...first], { maxTokens: 3, seed: 2 }))))
    expect(session.position).toBe(prompt.length + 7)
    expect(await session.append([])).toEqual(await logitsAfter(model, [...prompt, ...first, ...second]))
    expect(await collect(session.generate([2, 3], { maxTokens: 0 }))).toEqual([])
    expect(session.position).toBe(prompt.length + 9)
  })

  test('has read every token that was yielded, however it ends', async () => {
    using made = await setUp()
    const { model, session, runtime } = made
    const read = [...prompt]
    for await (const { id } of session.generate(prompt, { seed: 1 })) {
      read.push(id)
      if (read.length === prompt.length + 3) break
    }
    expect(session.position).toBe(read.length)
    const thrown = new Error('the reader fails')
    const reading = async () => {
      for await (const { id } of session.generate(null, { seed: 2 })) {
        read.push(id)
        throw thrown
      }
    }
    expect(await outcomeOf(reading())).toEqual({ reason: thrown })
    expect(session.position).toBe(read.length)
    const controller = new AbortController()
    const aborted = async () => {
      for await (const { id } of session.generate(null, { seed: 2, signal: controller.signal })) {
        read.push(id)
        if (read.length % 4 === 0) controller.abort('enough')
      }
    }
    expect(await outcomeOf(aborted())).toEqual({ reason: 'enough' })
    const failing = { seed: 4, logitsProcessor: (_: Float32Array, ids: readonly number[]) => void (ids.length === 2 && throwIt()) }
    const throwIt = () => {
      throw thrown
    }
    const failed = async () => {
      for await (const { id } of session.generate(null, failing)) read.push(id)
    }
    expect(await outcomeOf(failed())).toEqual({ reason: thrown })
    expect(session.position).toBe(read.length)
    expect(await session.append([])).toEqual(await logitsAfter(model, read))

    // while the prompt is read: as any append
    const before = session.save()
    const during = new AbortController()
    const undo = afterRun(runtime, 1, () => during.abort('soon'))
    expect(await outcomeOf(collect(session.generate(randomTokens(300, V), { signal: during.signal })))).toEqual({ reason: 'soon' })
    undo()
    expect(session.save()).toEqual(before)
  })

  test('rejects other calls meanwhile', async () => {
    using made = await setUp()
    const { model, session } = made
    const never = session.generate(prompt)
    await session.append(prompt) // it has not begun
    const generation = session.generate(null, { seed: 1 })
    const { value } = await generation.next()
    await expectRejects(session.append([1]), 'BAD_ARGUMENT', /generation/)
    await expectRejects(session.append([1], { bits: true }), 'BAD_ARGUMENT', /generation/)
    await expectRejects(never.next(), 'BAD_ARGUMENT', /generation/)
    await expectRejects(session.generate(null).next(), 'BAD_ARGUMENT', /generation/)
    const clone = session.clone()
    expect(clone.position).toBe(session.position)
    await clone.append([1])
    await generation.return()
    await generation.return()
    expect(session.position).toBe(prompt.length + 1)
    expect(await session.append([2])).toEqual(await logitsAfter(model, [...prompt, (value as GeneratedToken).id, 2]))
    clone.dispose()
    // disposed of meanwhile
    const last = session.generate(null, { seed: 1 })
    await last.next()
    session.dispose()
    await expectRejects(last.next(), 'DISPOSED')
    const lost = model.createSession()
    const begun = lost.generate(prompt)
    await begun.next()
    lost.dispose()
    expect(await begun.return()).toEqual({ done: true, value: undefined })
  })

  test('has read nothing of a prompt whose onProgress throws at the last token, however short it is', async () => {
    using made = await setUp()
    const { session } = made
    await session.append(prompt)
    const before = session.save()
    const thrown = new Error('the listener fails')
    for (const length of [1, 2, 40]) {
      const told: PromptProgress[] = []
      const onProgress = (progress: PromptProgress) => {
        told.push(progress)
        if (progress.done === length) throw thrown
      }
      const generation = collect(session.generate(randomTokens(length, V), { maxTokens: 1, onProgress }))
      expect(await outcomeOf(generation)).toEqual({ reason: thrown })
      expect(session.save()).toEqual(before)
      expect(told.at(-1)).toEqual({ type: 'prompt', done: length, total: length })
    }
  })

  test('does not wait for a processor once it is aborted or disposed of', async () => {
    const ends = ['signal', 'session', 'model', 'runtime'] as const
    for (const what of ends) {
      for (const isSynchronous of [true, false]) {
        using made = await setUp()
        const { runtime, model, session } = made
        await session.append(prompt)
        const controller = new AbortController()
        const end = () => {
          if (what === 'signal') controller.abort('enough')
          else void made[what].dispose()
        }
        const logitsProcessor = () => {
          if (isSynchronous) end()
          else setTimeout(end)
          return new Promise<void>(() => undefined)
        }
        const { used } = runtime.info.memory
        const generation = session.generate(null, { signal: controller.signal, logitsProcessor })
        if (what !== 'signal') {
          await expectRejects(generation.next(), 'DISPOSED')
          continue
        }
        expect(await outcomeOf(generation.next())).toEqual({ reason: 'enough' })
        expect(session.position).toBe(prompt.length)
        await session.append([1])
        const other = { signal: controller.signal, logitsProcessor: () => new Promise<void>(() => undefined) }
        expect(await outcomeOf(model.complete(prompt, other))).toEqual({ reason: 'enough' })
        expect(runtime.info.memory.used).toBe(used)
      }
    }
  })

  test('needs something to continue from, and room', async () => {
    using made = await setUp({ max_positions: 16 })
    const { model, session } = made
    await expectRejects(session.generate(null).next(), 'BAD_ARGUMENT', /new session/)
    expectThrows(() => model.generate(null as never), 'BAD_ARGUMENT', /token ids/)
    expectThrows(() => session.generate([]), 'BAD_ARGUMENT', /at least one token/)
    expectThrows(() => session.generate(randomTokens(17, V)), 'BAD_ARGUMENT', /max_positions/)
    const tokens = await collect(session.generate(prompt, { maxTokens: Infinity }))
    expect(tokens).toHaveLength(4)
    expect(tokens.at(-1).finishReason).toBe('length')
    expect(session.position).toBe(16)
    expect(await collect(session.generate(null))).toEqual([])
    expectThrows(() => session.generate([1]), 'BAD_ARGUMENT', /max_positions/)
    // other calls that wait may have taken the room
    const other = model.createSession()
    const late = other.generate(prompt)
    const pending = other.append(prompt)
    await expectRejects(late.next(), 'BAD_ARGUMENT', /max_positions/)
    await pending
    expect(await other.append([1])).toHaveLength(V)
  })
})
