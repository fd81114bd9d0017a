import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { nextMacrotask } from '../../src/event-loop.js'
import { createRuntime, LanguageModel, type Runtime } from '../../src/index.js'
import { createHandler, type Handler, type LogEntry } from '../../src/server/index.js'
import { recitingModelFiles } from '../support/reciting-model.js'
import { causalConfig, loadSmallModel, randomTokens, smallModel, smallModelFiles } from '../support/small-models.js'
import { tokenizerFiles } from '../support/tokenizer-files.js'
import { ask, type Asked, fault, partsOf, requestOf } from './support.js'

/** Bytes are tokens, and some tokens have no text. */
const config = { ...causalConfig, num_tokens: 260 }
let runtime: Runtime
let model: LanguageModel
let reciting: LanguageModel
beforeAll(async () => {
  runtime = await createRuntime()
  model = await LanguageModel.load(smallModelFiles(smallModel(config)), { runtime, tokenizer: 'bytes' })
  // the scratch memory that comes with the first tokens: tests below count bytes
  await completed(createHandler(model), { prompt: 'a', n: 2 })
  reciting = await LanguageModel.load(recitingModelFiles([' one', ' two', ' three', ' é', ' END', '<s>']), { runtime })
})
afterAll(() => runtime.dispose())

/** Timers run out when the test says so, not when the machine stalls. */
const holdTimers = () => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
afterEach(() => void vi.useRealTimers())

interface Choice {
  index: number
  text: string
  logprobs: {
    tokens: string[]
    token_logprobs: (number | null)[]
    top_logprobs: (Record<string, number> | null)[]
    text_offset: number[]
  } | null
  finish_reason: string | null
}
interface CompletionBody {
  id: string
  choices: Choice[]
  usage?: Record<string, unknown> | null
}

async function completed(handler: Handler, body: object): Promise<CompletionBody> {
  const answer = await ask(handler, 'POST', '/v1/completions', body)
  expect(answer).toMatchObject({ status: 200, body: { object: 'text_completion', created: expect.any(Number), model: 'routed-attention' } })
  return answer.body as CompletionBody
}

/** The chunks of a stream, whose end is checked. */
async function streamed(handler: Handler, body: object): Promise<CompletionBody[]> {
  const { status, headers, body: text } = await ask(handler, 'POST', '/v1/completions', { ...body, stream: true })
  expect({ status, type: headers.get('content-type') }).toEqual({ status: 200, type: 'text/event-stream' })
  const events = (text as string).split('\n\n')
  expect(events.slice(-2)).toEqual(['data: [DONE]', ''])
  return events.slice(0, -2).map((event) => {
    expect(event).toMatch(/^data: \{[^\n]*\}$/)
    return JSON.parse(event.slice('data: '.length)) as CompletionBody
  })
}

/** The choices that the chunks of a stream add up to. */
function assembled(chunks: readonly CompletionBody[]): Choice[] {
  const choices: Choice[] = []
  for (const { choices: parts } of chunks) {
    for (const { index, text, logprobs, finish_reason } of parts) {
      const choice = (choices[index] ??= {
        index,
        text: '',
        logprobs: logprobs && { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] },
        finish_reason: null,
      })
      expect(choice.finish_reason).toBe(null) // nothing comes after the end
      choice.text += text
      choice.finish_reason = finish_reason
      for (const name of ['tokens', 'token_logprobs', 'top_logprobs', 'text_offset'] as const)
        (choice.logprobs?.[name] as unknown[])?.push(...logprobs![name])
    }
  }
  return choices
}

describe('a completion', () => {
  test('is what the model generates, with its usage, whole or streamed', async () => {
    const handler = createHandler(model)
    const options = { max_tokens: 20, temperature: 0.8, top_p: 0.9, top_k: 50, min_p: 0.01, seed: 7, repetition_penalty: 1.2, frequency_penalty: 0.3, presence_penalty: 0.1, logit_bias: { 101: 2 } } // prettier-ignore
    const expected = await model.complete('The captain', {
      ...{ maxTokens: 20, temperature: 0.8, topP: 0.9, topK: 50, minP: 0.01, seed: 7 },
      ...{ repetitionPenalty: 1.2, frequencyPenalty: 0.3, presencePenalty: 0.1, logitBias: { 101: 2 } },
    })
    const { id, choices, usage } = await completed(handler, { model: 'routed-attention', prompt: 'The captain', ...options })
    expect(id).toMatch(/^cmpl-[A-Za-z0-9_-]{24}$/)
    expect(choices).toEqual([{ index: 0, text: expected.text, logprobs: null, finish_reason: 'length' }])
    expect(usage).toMatchObject({ prompt_tokens: 11, completion_tokens: 20, total_tokens: 31 })

    const chunks = await streamed(handler, { prompt: 'The captain', ...options, stream_options: { include_usage: true } })
    expect(new Set(chunks.map((chunk) => chunk.id)).size).toBe(1)
    expect(assembled(chunks)).toEqual(choices)
    expect(chunks.slice(0, -1).every((chunk) => chunk.usage === null)).toBe(true)
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: 11, completion_tokens: 20, total_tokens: 31, prompt_tokens_details: { cached_tokens: 11 } } }) // prettier-ignore
    expect((await streamed(handler, { prompt: 'x' })).every((chunk) => !('usage' in chunk))).toBe(true)
  })

  test('has 16 tokens by default, and none on request', async () => {
    const handler = createHandler(model)
    expect((await completed(handler, { prompt: 'a' })).usage).toMatchObject({ completion_tokens: 16 })
    for (const stream of [false, true]) {
      const body = { prompt: 'a', max_tokens: 0, echo: true }
      const choices = stream ? assembled(await streamed(handler, body)) : (await completed(handler, body)).choices
      expect(choices).toEqual([{ index: 0, text: 'a', logprobs: null, finish_reason: 'length' }])
    }
  })

  test('accepts a prompt as text, as token ids, or several of either', async () => {
    const handler = createHandler(model)
    const ids = [...new TextEncoder().encode('one')]
    const one = (await completed(handler, { prompt: 'one', seed: 1 })).choices[0]!.text
    const two = (await completed(handler, { prompt: 'two', seed: 1 })).choices[0]!.text
    expect(one).not.toBe(two)
    const texts = async (prompt: unknown, echo = false) =>
      (await completed(handler, { prompt, seed: 1, echo })).choices.map(({ index, text }) => [index, text])
    expect(await texts(ids)).toEqual([[0, one]])
    expect(await texts(ids, true)).toEqual([[0, `one${one}`]])
    expect(await texts(['one', 'two'])).toEqual([[0, one], [1, two]]) // prettier-ignore
    expect(await texts([ids, [...new TextEncoder().encode('two')]])).toEqual([[0, one], [1, two]]) // prettier-ignore
  })

  test('has n choices for each prompt, the i-th with the seed plus i', async () => {
    const handler = createHandler(model)
    const body = { prompt: ['one', 'two'], n: 3, seed: 40, max_tokens: 9, echo: true }
    const { choices, usage } = await completed(handler, body)
    const expected = await Promise.all(
      ['one', 'two'].flatMap((prompt) =>
        [40, 41, 42].map(async (seed) => prompt + (await model.complete(prompt, { seed, maxTokens: 9 })).text),
      ),
    )
    expect(choices.map(({ index, text }) => [index, text])).toEqual([...expected.entries()])
    expect(new Set(expected).size).toBe(6)
    expect(usage).toMatchObject({ prompt_tokens: 6, completion_tokens: 54 })
    expect(assembled(await streamed(handler, body))).toEqual(choices)
  })

  test('stops at a stop text, a stop token, or the limit', async () => {
    const handler = createHandler(reciting)
    const greedy = { prompt: 'a', temperature: 0, max_tokens: 20 }
    const end = async (body: object) =>
      (await completed(handler, { ...greedy, ...body })).choices.map(({ text, finish_reason }) => [text, finish_reason])
    expect(await end({ stop: ' END' })).toEqual([[' one two three é', 'stop']])
    expect(await end({ stop: ['nothing', 'ree é'] })).toEqual([[' one two th', 'stop']])
    expect(await end({ max_tokens: 2 })).toEqual([[' one two', 'length']])
    expect(assembled(await streamed(handler, { ...greedy, stop: ' END' }))).toEqual([{ index: 0, text: ' one two three é', logprobs: null, finish_reason: 'stop' }]) // prettier-ignore

    const files = recitingModelFiles([' one', ' two'])
    files.set('generation_config.json', new TextEncoder().encode('{"eos_token_id": 2}'))
    const ending = createHandler(await LanguageModel.load(files, { runtime }))
    expect((await completed(ending, greedy)).choices).toEqual([{ index: 0, text: ' one', logprobs: null, finish_reason: 'stop' }])
    expect((await completed(ending, { ...greedy, max_tokens: 3, ignore_eos: true })).choices[0]).toMatchObject({
      text: ' one twoa',
      finish_reason: 'length',
    })
  })

  test('keeps the space between prompt and continuation, even if the decoder strips a leading one', async () => {
    // each token is followed by the next of the vocabulary
    const files = recitingModelFiles(Array.from({ length: 20 }, (_, id) => `${id}`))
    files.set('tokenizer.json', new TextEncoder().encode(JSON.stringify(tokenizerFiles['T5'])))
    const handler = createHandler(await LanguageModel.load(files, { runtime }))
    const body = { prompt: 'the', max_tokens: 4, temperature: 0 }
    expect((await completed(handler, body)).choices[0]!.text).toBe(' seasman ma')
    expect((await completed(handler, { ...body, max_tokens: 1, echo: true })).choices[0]!.text).toBe('the sea')
  })

  test('treats special tokens in a text as text', async () => {
    const flags = { special: true, single_word: false, lstrip: false, rstrip: false, normalized: false }
    const tokenizer = {
      added_tokens: [{ id: 3, content: '<s>', ...flags }],
      model: { type: 'BPE', vocab: { '<': 0, s: 1, '>': 2 }, merges: [] },
    }
    const files = smallModelFiles(smallModel({ ...causalConfig, num_tokens: 4 }))
    const special = await LanguageModel.load(files.set('tokenizer.json', new TextEncoder().encode(JSON.stringify(tokenizer))), { runtime })
    expect(special.tokenizer.encode('<s>')).toEqual([3])
    expect((await completed(createHandler(special), { prompt: '<s>' })).usage).toMatchObject({ prompt_tokens: 3 })
  })

  test('ignores fields that only apply to OpenAI’s own service, and null', async () => {
    const handler = createHandler(model)
    const ignored = { user: 'u', metadata: { a: 'b' }, store: true, service_tier: 'auto', safety_identifier: 's', prompt_cache_key: 'k' }
    const absent = { max_tokens: null, temperature: null, stop: null, n: null, logprobs: null, stream: null, logit_bias: null, stream_options: null, model: null, echo: null, seed: null } // prettier-ignore
    expect((await completed(handler, { prompt: 'a', ...ignored, ...absent })).usage).toMatchObject({ completion_tokens: 16 })
  })
})

describe('log-probabilities', () => {
  test("are the model's, also for prompts, with the offset of each token", async () => {
    const handler = createHandler(model)
    const body = { prompt: 'aé', echo: true, logprobs: 3, max_tokens: 12, seed: 2, frequency_penalty: 1.5 }
    const { choices } = await completed(handler, body)
    const { text, logprobs } = choices[0]!
    const { tokens, token_logprobs, top_logprobs, text_offset } = logprobs!
    expect(tokens.slice(0, 3)).toEqual(['a', 'bytes:\\xc3', 'bytes:\\xa9'])
    expect(text_offset.slice(0, 4)).toEqual([0, 1, 1, 2])
    for (const list of [tokens, token_logprobs, top_logprobs, text_offset]) expect(list).toHaveLength(15)
    expect([token_logprobs[0], top_logprobs[0]]).toEqual([null, null])

    const generated: number[] = []
    for await (const { id } of model.generate('aé', { maxTokens: 12, seed: 2, frequencyPenalty: 1.5 })) generated.push(id)
    const ids = [...new TextEncoder().encode('aé'), ...generated]
    const logits = await model.forward(ids)
    ids.slice(1).forEach((id, position) => {
      const row = logits.data.subarray(position * 260, (position + 1) * 260)
      const logSum = Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0))
      expect(token_logprobs[position + 1]).toBeCloseTo(row[id]! - logSum, 4)
      const top = top_logprobs[position + 1]!
      const best = [...row.keys()].sort((a, b) => row[b]! - row[a]!).slice(0, 3)
      expect(Object.keys(top)).toHaveLength(best.includes(id) ? 3 : 4)
      expect(Object.values(top).sort((a, b) => b - a).slice(0, 3)).toEqual(best.map((other) => expect.closeTo(row[other]! - logSum, 4) as number)) // prettier-ignore
      expect(top[tokens[position + 1]!]).toBe(token_logprobs[position + 1])
    })
    // the offsets cut the text into whole characters
    text_offset.forEach((offset, i) => expect(offset).toBeGreaterThanOrEqual(text_offset[i - 1] ?? 0))
    expect(text_offset.at(-1)).toBeLessThanOrEqual(text.length)
    expect(assembled(await streamed(handler, body))).toEqual(choices)
  })

  test('with 0 have only the chosen token, and begin with the text', async () => {
    const { logprobs } = (await completed(createHandler(reciting), { prompt: 'a', logprobs: 0, max_tokens: 4, temperature: 0 })).choices[0]!
    expect(logprobs).toEqual({
      tokens: [' one', ' two', ' three', ' é'],
      token_logprobs: [0, 0, 0, 0].map(() => expect.any(Number) as number),
      top_logprobs: [' one', ' two', ' three', ' é'].map((token) => ({ [token]: expect.any(Number) as number })),
      text_offset: [0, 4, 8, 14],
    })
  })

  test('name tokens without text by their ids', async () => {
    const nameless = await loadSmallModel(runtime, causalConfig)
    const { text, logprobs } = (await completed(createHandler(nameless), { prompt: [1, 2], echo: true, logprobs: 1, max_tokens: 1 }))
      .choices[0]!
    expect(text).toBe('')
    expect(logprobs!.tokens).toEqual(['token_id:1', 'token_id:2', expect.stringMatching(/^token_id:\d+$/)])
    expect(await ask(createHandler(nameless), 'POST', '/v1/completions', { prompt: 'text' })).toMatchObject({
      status: 400,
      body: fault('UNSUPPORTED', /tokenizer/),
    })
  })
})

describe('a request that cannot be served', () => {
  test.each<[unknown, string | null, RegExp]>([
    [[], null, /the body must be a JSON object, got an array/],
    [{}, 'prompt', /prompt is missing/],
    [{ prompt: '' }, 'prompt', /at least one token/],
    [{ prompt: ['a', ''] }, 'prompt', /at least one token/],
    [{ prompt: [] }, 'prompt', /prompt must be a text/],
    [{ prompt: [260] }, 'prompt', /token ids from 0 to 259/],
    [{ prompt: [1.5] }, 'prompt', /prompt must be/],
    [{ prompt: [1, 'a'] }, 'prompt', /prompt must be/],
    [{ prompt: [[]] }, 'prompt', /prompt must be/],
    [{ prompt: { a: 1 } }, 'prompt', /prompt must be/],
    [{ prompt: 'abcdefghi' }, 'prompt', /more than the 8 tokens/],
    [{ prompt: randomTokens(9, 260) }, 'prompt', /more than the 8 tokens/],
    [{ prompt: 'a', max_tokens: -1 }, 'max_tokens', /max_tokens must be an integer from 0 to 30, got -1/],
    [{ prompt: 'a', max_tokens: 31 }, 'max_tokens', /to 30/],
    [{ prompt: 'a', max_tokens: '5' }, 'max_tokens', /got "5"/],
    [{ prompt: 'a', temperature: -1 }, 'temperature', /a number from 0/],
    [{ prompt: 'a', top_p: 0 }, 'top_p', /above 0 and up to 1/],
    [{ prompt: 'a', top_k: 0 }, 'top_k', /an integer from 1/],
    [{ prompt: 'a', min_p: 2 }, 'min_p', /from 0 to 1/],
    [{ prompt: 'a', seed: 1.5 }, 'seed', /an integer/],
    [{ prompt: 'a', seed: 2 ** 53 }, 'seed', /an integer/],
    [{ prompt: 'a', n: 0 }, 'n', /an integer from 1 to 4/],
    [{ prompt: 'a', n: 5 }, 'n', /an integer from 1 to 4/],
    [{ prompt: ['a', 'b', 'c'], n: 2 }, 'prompt', /3 prompts of 2 choices are more than the 4/],
    [{ prompt: 'a', echo: 'yes' }, 'echo', /true or false/],
    [{ prompt: 'a', logprobs: true }, 'logprobs', /an integer from 0 to 20/],
    [{ prompt: 'a', logprobs: 21 }, 'logprobs', /an integer from 0 to 20/],
    [{ prompt: 'a', repetition_penalty: 0 }, 'repetition_penalty', /above 0/],
    [{ prompt: 'a', frequency_penalty: 'high' }, 'frequency_penalty', /a number/],
    [{ prompt: 'a', stop: '' }, 'stop', /none empty/],
    [{ prompt: 'a', stop: [1] }, 'stop', /none empty/],
    [{ prompt: 'a', stop: '\ud800' }, 'stop', /well-formed/],
    [{ prompt: 'a', stop: new Array(17).fill('x') }, 'stop', /at most 16/],
    [{ prompt: 'a', logit_bias: [1] }, 'logit_bias', /an object/],
    [{ prompt: 'a', logit_bias: { x: 1 } }, 'logit_bias', /token ids from 0 to 259/],
    [{ prompt: 'a', logit_bias: { 260: 1 } }, 'logit_bias', /token ids from 0 to 259/],
    [{ prompt: 'a', logit_bias: { 1: null } }, 'logit_bias', /finite numbers/],
    [{ prompt: 'a', stream: 1 }, 'stream', /true or false/],
    [{ prompt: 'a', stream_options: { include_usage: true } }, 'stream_options', /stream: true/],
    [{ prompt: 'a', stream: true, stream_options: { include_obfuscation: true } }, 'stream_options.include_obfuscation', /no field/],
    [{ prompt: 'a', best_of: 1 }, 'best_of', /no field "best_of"/],
    [{ prompt: 'a', suffix: null }, 'suffix', /no field/],
    [{ prompt: 'a', max_token: 1 }, 'max_token', /did you mean 'max_tokens'/],
    [JSON.parse('{"prompt": "a", "__proto__": 1}'), '__proto__', /no field/],
  ])('is rejected with the field at fault: %j', async (body, param, message) => {
    const handler = createHandler(model, { maxPromptTokens: 8, maxTokens: 30, maxChoices: 4 })
    for (const stream of [{}, { stream: true }]) {
      const whole = Array.isArray(body) ? body : { ...stream, ...(body as object) }
      expect(await ask(handler, 'POST', '/v1/completions', whole)).toMatchObject({
        status: 400,
        body: fault('BAD_ARGUMENT', message, param),
      })
      if (param?.startsWith('stream')) break
    }
    expect(runtime.info.memory.used).toBe((await settled()).used)
  })

  test('asks for another model', async () => {
    expect(await ask(createHandler(model), 'POST', '/v1/completions', { model: 'gpt', prompt: 'a' })).toMatchObject({
      status: 404,
      body: fault('NOT_FOUND', /no model/, 'model'),
    })
  })

  test('has a body that is not JSON, or not declared as such, or too long, or never ends', async () => {
    const handler = createHandler(model, { maxBodyBytes: 50, stallTimeout: 30_000 })
    const post = (body: unknown, init?: RequestInit) => ask(handler, 'POST', '/v1/completions', body, init)
    const parts = (...given: Parameters<typeof partsOf>) =>
      ({ body: partsOf(...given), duplex: 'half', headers: { 'content-type': 'application/json' } }) as RequestInit
    const streamedBody = (init: RequestInit) => ask(handler, 'POST', '/v1/completions', undefined, init)
    expect(await post('{"prompt": "secret')).toMatchObject({
      status: 400,
      body: fault('BAD_ARGUMENT', /must be JSON, and its 18 bytes are not/),
    })
    expect(await post('')).toMatchObject({ status: 400 })
    expect(await post({ prompt: 'a' }, { headers: { 'content-type': 'text/plain' } })).toMatchObject({
      status: 415,
      body: fault('UNSUPPORTED_MEDIA_TYPE', /application\/json/),
    })
    expect(await post({ prompt: 'a' }, { headers: { 'content-type': 'Application/JSON; charset=utf-8' } })).toMatchObject({ status: 200 })
    expect(await post({ prompt: 'a' }, { headers: { 'content-encoding': 'gzip' } })).toMatchObject({ status: 415 })
    expect(await post({ prompt: 'a'.repeat(50) })).toMatchObject({ status: 413, body: fault('TOO_LARGE', /50 bytes/) })
    expect(await streamedBody(parts(['{"prompt":', '"a"}']))).toMatchObject({ status: 200 })
    expect(await streamedBody(parts([' '.repeat(30), ' '.repeat(30)], false))).toMatchObject({ status: 413 })
    holdTimers()
    let stalled: Asked | undefined
    void streamedBody(parts(['{"prompt":'], false)).then((asked) => (stalled = asked))
    while (!stalled) await vi.advanceTimersByTimeAsync(30_000)
    expect(stalled).toMatchObject({ status: 408, body: fault('TIMEOUT', /30000 ms/) })
    const bytes = new Uint8Array([...new TextEncoder().encode('{"prompt":"'), 0xff, ...new TextEncoder().encode('"}')])
    const request = new Request('http://server.test/v1/completions', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: bytes,
    })
    expect((await handler(request)).status).toBe(400)
  })

  test('gets 503 if its model is disposed of, and the server keeps running', async () => {
    const files = smallModelFiles(smallModel(config))
    const broken = await LanguageModel.load(files, { runtime, tokenizer: 'bytes' })
    const handler = createHandler(broken)
    broken.dispose()
    const refused = await ask(handler, 'POST', '/v1/completions', { prompt: 'a', stream: true })
    expect(refused).toMatchObject({ status: 503, body: fault('DISPOSED', /disposed/) })
    expect(refused.headers.get('retry-after')).toBe('5')
    expect(await ask(handler, 'GET', '/health')).toMatchObject({ status: 200 })
  })
})

/** The memory once nothing is under way. */
async function settled(): Promise<{ used: number }> {
  await new Promise((resolve) => setTimeout(resolve, 0))
  return runtime.info.memory
}

describe('a client of the server', () => {
  test('that disconnects stops the work within three tokens, streamed or not', async () => {
    const entries: LogEntry[] = []
    const handler = createHandler(model, { log: (entry) => entries.push(entry), maxTokens: 100_000 })
    const { used } = runtime.info.memory
    const response = await handler(
      requestOf('POST', '/v1/completions', { prompt: 'a', stream: true, max_tokens: 100_000, n: 2, logprobs: 0 }),
    )
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    for (let i = 0; i < 5; i++) await reader.read()
    await reader.cancel()
    expect(entries).toMatchObject([{ status: 499, code: 'CLIENT_LEFT' }])
    expect(entries[0]!.completionTokens).toBeLessThanOrEqual(5 + 2 * 3)
    expect(runtime.info.memory.used).toBe(used)

    const controller = new AbortController()
    const body = { prompt: 'a', max_tokens: 100_000 }
    const waiting = handler(requestOf('POST', '/v1/completions', body, { signal: controller.signal }))
    while (runtime.info.memory.used === used) await new Promise((resolve) => setTimeout(resolve, 1))
    controller.abort()
    await waiting
    expect(entries[1]).toMatchObject({ status: 499, code: 'CLIENT_LEFT' })
    expect(entries[1]!.completionTokens).toBeLessThan(100_000)
    expect(runtime.info.memory.used).toBe(used)
  })

  test('that disconnects before it has read anything leaves nothing behind', async () => {
    const entries: LogEntry[] = []
    const handler = createHandler(model, { log: (entry) => entries.push(entry) })
    const { used } = runtime.info.memory
    // with log-probabilities every token is sent, also one that ends inside a character: none is computed for the next event
    const response = await handler(requestOf('POST', '/v1/completions', { prompt: 'a', stream: true, logprobs: 0 }))
    await (response.body as ReadableStream).cancel()
    expect(entries).toMatchObject([{ status: 499 }])
    expect(entries[0]!.completionTokens).toBeLessThanOrEqual(3)
    expect(runtime.info.memory.used).toBe(used)
    const gone = new AbortController()
    gone.abort()
    expect((await handler(requestOf('POST', '/v1/completions', { prompt: 'a' }, { signal: gone.signal }))).status).toBe(499)
  })

  test('that reads slowly delays only its own work, and one that stops reading is dropped', async () => {
    const entries: LogEntry[] = []
    const handler = createHandler(model, { log: (entry) => entries.push(entry), stallTimeout: 50, maxTokens: 100_000 })
    holdTimers()
    const response = await handler(requestOf('POST', '/v1/completions', { prompt: 'a', stream: true, max_tokens: 100_000, logprobs: 0 }))
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    for (let i = 0; i < 3; i++) {
      await vi.advanceTimersByTimeAsync(49)
      await reader.read()
    }
    await vi.advanceTimersByTimeAsync(49)
    expect(entries).toEqual([])
    await vi.advanceTimersByTimeAsync(1)
    while (entries.length === 0) await nextMacrotask()
    expect(entries).toMatchObject([{ status: 200, code: 'TIMEOUT' }])
    expect(entries[0]!.completionTokens).toBeLessThanOrEqual(5)
    const rest = new TextDecoder().decode((await reader.read()).value)
    expect(rest).toMatch(/^data: \{"error":\{"message":"the client read nothing for 50 ms"/)
    expect(await reader.read()).toMatchObject({ done: true })
  })
})

describe('under load', () => {
  test('requests queue, and are rejected when the queue is full', async () => {
    const handler = createHandler(model, { maxConcurrent: 2, maxQueue: 1, maxTokens: 100_000 })
    const expected = (await completed(handler, { prompt: 'b', seed: 1 })).choices
    const first = await handler(requestOf('POST', '/v1/completions', { prompt: 'a', n: 2, stream: true, max_tokens: 100_000 }))
    const second = ask(handler, 'POST', '/v1/completions', { prompt: 'b', seed: 1 })
    while (!/queue_length 1$/m.test((await ask(handler, 'GET', '/metrics')).body as string))
      await new Promise((resolve) => setTimeout(resolve, 1))
    const third = await ask(handler, 'POST', '/v1/completions', { prompt: 'c' })
    expect(third).toMatchObject({ status: 503, body: fault('OVERLOADED', /1 requests are waiting/) })
    expect(Number(third.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    await (first.body as ReadableStream).cancel()
    expect(await second).toMatchObject({ status: 200, body: { choices: expected } })
    expect((await ask(handler, 'GET', '/metrics')).body).toMatch(/^routed_attention_sequences 0$/m)
  })

  test('a request that need not queue has waited for nothing, whatever the clock does', async () => {
    const entries: LogEntry[] = []
    const handler = createHandler(model, { log: (entry) => entries.push(entry) })
    let now = 0
    using clock = vi.spyOn(performance, 'now').mockImplementation(() => (now += 2000))
    await completed(handler, { prompt: 'a', max_tokens: 1 })
    expect(clock).toHaveBeenCalled()
    expect(entries).toMatchObject([{ status: 200, queuedMilliseconds: 0 }])
  })

  test('a request that leaves the queue makes room', async () => {
    const handler = createHandler(model, { maxConcurrent: 2, maxQueue: 2, maxTokens: 100_000 })
    const first = await handler(requestOf('POST', '/v1/completions', { prompt: 'a', stream: true, max_tokens: 100_000 }))
    const leaving = new AbortController()
    const second = handler(requestOf('POST', '/v1/completions', { prompt: 'b', n: 2 }, { signal: leaving.signal }))
    const third = ask(handler, 'POST', '/v1/completions', { prompt: 'c' }) // would fit, but may not overtake
    while (!/queue_length 2$/m.test((await ask(handler, 'GET', '/metrics')).body as string))
      await new Promise((resolve) => setTimeout(resolve, 1))
    leaving.abort()
    expect((await second).status).toBe(499)
    expect(await third).toMatchObject({ status: 200 })
    await (first.body as ReadableStream).cancel()
  })

  test('no work starts beyond the memory limit', async () => {
    const handler = createHandler(model, { maxMemory: runtime.info.memory.used + 1000 })
    expect(await ask(handler, 'POST', '/v1/completions', { prompt: 'a' })).toMatchObject({ status: 200 })
    // now it knows what a session takes
    const refused = await ask(handler, 'POST', '/v1/completions', { prompt: 'a' })
    expect(refused).toMatchObject({ status: 503, body: fault('OVERLOADED', /memory/) })
    expect(refused.headers.get('retry-after')).toMatch(/^\d+$/)
  })

  test('sequences are decoded together, and the metrics show how many', async () => {
    const handler = createHandler(model)
    const decoded = async () => {
      const { body } = await ask(handler, 'GET', '/metrics')
      const read = (name: string) => Number(new RegExp(`^routed_attention_decode_${name}_total (\\d+)$`, 'm').exec(body as string)![1])
      return { batches: read('batches'), tokens: read('tokens') }
    }
    const before = await decoded()
    await completed(handler, { prompt: 'a', n: 8, max_tokens: 20 })
    const after = await decoded()
    const [batches, tokens] = [after.batches - before.batches, after.tokens - before.tokens]
    expect(tokens).toBeGreaterThanOrEqual(8 * 15) // some take the slow path
    expect(tokens / batches).toBeGreaterThan(4)
  })

  test('every text is the same as without load', async () => {
    const handler = createHandler(model, { maxConcurrent: 5, maxQueue: 100 })
    const bodies = Array.from({ length: 24 }, (_, i) => ({
      prompt: `prompt ${i % 5} and more`,
      seed: i,
      max_tokens: 10 + i,
      n: 1 + (i % 3),
    }))
    const answers = await Promise.all(
      bodies.map((body, i) => (i % 2 ? completed(handler, body).then(({ choices }) => choices) : streamed(handler, body).then(assembled))),
    )
    for (const [i, { prompt, seed, max_tokens, n }] of bodies.entries())
      for (let choice = 0; choice < n; choice++)
        expect(answers[i]![choice]!.text).toBe((await model.complete(prompt, { seed: seed + choice, maxTokens: max_tokens })).text)
  })
})

test('a prompt is not read twice, but only shared between requests with the same key', async () => {
  const handler = createHandler(model, { apiKeys: ['one', 'two'] })
  const prompt = randomTokens(200, 260)
  const cached = async (key: string, more: number[] = []) => {
    const { body } = await ask(
      handler,
      'POST',
      '/v1/completions',
      { prompt: [...prompt, ...more] },
      { headers: { authorization: `Bearer ${key}` } },
    )
    return (body as { usage: { prompt_tokens_details: { cached_tokens: number } } }).usage.prompt_tokens_details.cached_tokens
  }
  expect([await cached('one'), await cached('one'), await cached('one', [1, 2]), await cached('two'), await cached('two')]).toEqual([
    0, 200, 200, 0, 200,
  ])
  expect((await ask(createHandler(model, { maxCacheBytes: 0 }), 'POST', '/v1/completions', { prompt })).body).toMatchObject({ usage: { prompt_tokens_details: { cached_tokens: 0 } } }) // prettier-ignore
})

test('a shutdown waits for pending requests, and aborts them after a timeout', async () => {
  const handler = createHandler(model, { maxTokens: 100_000 })
  const short = await handler(requestOf('POST', '/v1/completions', { prompt: 'a', stream: true }))
  const long = await handler(requestOf('POST', '/v1/completions', { prompt: 'a', stream: true, max_tokens: 100_000 }))
  holdTimers()
  const closed = handler.close({ timeout: 300 })
  const broken = long.text()
  expect(await short.text()).toMatch(/data: \[DONE\]\n\n$/)
  await vi.advanceTimersByTimeAsync(300)
  await closed
  expect(await broken).toMatch(
    /data: \{"error":\{"message":"the server is shutting down","type":"server_error","param":null,"code":"CLOSING"\}\}\n\n$/,
  )
})
