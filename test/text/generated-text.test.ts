import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { LanguageModel } from '../../src/index.js'
import { LanguageModel as Model } from '../../src/index.js'
import { createTokenizer } from '../../src/io/tokenizer.js'
import { expectRejects, expectThrows } from '../support/errors.js'
import { outcomeOf } from '../support/interruptions.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, randomTokens, smallModel, smallModelFiles } from '../support/small-models.js'
import { tokenizerFiles } from '../support/tokenizer-files.js'
import { V, prompt, collect, idsOf } from '../support/generation-cases.js'
import { runs } from '../support/seed.js'

const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))

/** A model with a tokenizer.json of one of the kinds, and two tokens more than that names. */
async function loadWith(runtime: ReturnType<typeof openRuntime>, family: string): Promise<LanguageModel> {
  const { size } = await createTokenizer(JSON.stringify(tokenizerFiles[family]))
  const files = smallModelFiles(smallModel({ ...causalConfig, num_tokens: size + 2 }))
  return Model.load(files.set('tokenizer.json', json(tokenizerFiles[family])), { runtime })
}

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
      runs(12),
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
