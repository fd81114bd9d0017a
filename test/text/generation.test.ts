import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { LanguageModel, type GenerateOptions, type PromptProgress } from '../../src/index.js'
import { createRandom } from '../../src/random.js'
import { expectRejects, expectThrows } from '../support/errors.js'
import { outcomeOf } from '../support/interruptions.js'
import { openRuntime } from '../support/runtimes.js'
import { loadSmallModel, randomTokens, smallModel, smallModelFiles } from '../support/small-models.js'
import { V, prompt, kinds, collect, idsOf } from '../support/generation-cases.js'
import { runs } from '../support/seed.js'

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
      runs(40),
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

  test('goes on behind what it had written, as if it had not been interrupted', async () => {
    using runtime = openRuntime('baseline')
    const bytes = smallModelFiles(smallModel({ ...config, num_tokens: 256 }))
    const model = await LanguageModel.load(bytes, { runtime, tokenizer: 'bytes' })
    // an unfinished character before it, and texts that hold back
    const text = [...new TextEncoder().encode('The old captain é')].slice(0, -1)
    const seen: number[][] = []
    const logitsProcessor = (_: Float32Array, ids: readonly number[]) => void seen.push([...ids])
    const whole = await collect(model.generate(text, { maxTokens: 24, seed: 9 }))
    const stop = whole[14]!.text + whole[15]!.text + whole[16]!.text + 'x'
    for (const options of [
      { temperature: 0 },
      { seed: 9, topK: 40 },
      { seed: 9, repetitionPenalty: 2.5, presencePenalty: 0.5, frequencyPenalty: 0.2, logitsProcessor },
      { seed: 9, stop: [stop, '\u{10ffff}'] },
      { seed: 9, stop: whole[18]!.text || 'x' },
    ] satisfies GenerateOptions[]) {
      const all = { maxTokens: 24, ...options }
      seen.length = 0
      const expected = await collect(model.generate(text, all))
      const processed = [...seen]
      for (let written = 0; written < expected.length; written++) {
        seen.length = 0
        const writtenIds = idsOf(expected.slice(0, written))
        expect(await collect(model.generate(text, { ...all, writtenIds }))).toEqual(expected.slice(written))
        expect(seen).toEqual(processed.slice(written))
      }
    }
    // in a session, which has read it all then
    const session = model.createSession()
    await session.append(text.slice(0, 4))
    const options = { seed: 9, maxTokens: 24, writtenIds: idsOf(whole.slice(0, 10)), onProgress: vi.fn() }
    expect(await collect(session.generate(text.slice(4), options))).toEqual(whole.slice(10))
    expect(session.position).toBe(text.length + 24)
    expect(options.onProgress).toHaveBeenLastCalledWith({ type: 'prompt', done: text.length + 6, total: text.length + 6 })
    expect(await collect(model.generate(text, { ...options, maxTokens: 10 }))).toEqual([])
    expectThrows(() => model.generate(text, { writtenIds: [256] }), 'BAD_ARGUMENT', /writtenIds: token id 0 must be .* got 256/)
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
