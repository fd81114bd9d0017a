/** OpenAI's own client against `routed-attention serve`. */
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createRuntime, LanguageModel, type Runtime } from '../../src/index.js'
import { eventually } from '../support/eventually.js'
import { novels2Int8Folder } from '../support/models.js'
import { type Serving, startServing } from '../support/serving.js'

const KEY = 'a key of this test'.replaceAll(' ', '-')
const NAME = 'novels-10m-v2-int8'
let serving: Serving
let client: OpenAI
let runtime: Runtime
let model: LanguageModel

beforeAll(async () => {
  serving = await startServing(
    '--api-key',
    KEY,
    '--simd',
    'baseline',
    '--max-concurrent',
    '4',
    '--max-choices',
    '4',
    '--max-queue',
    '0',
    '--max-tokens',
    '1000000',
  )
  client = new OpenAI({ baseURL: `${serving.origin}/v1`, apiKey: KEY, maxRetries: 0 })
  runtime = await createRuntime({ simd: 'baseline', threads: 1 })
  model = await LanguageModel.load(novels2Int8Folder, { runtime })
})
afterAll(async () => {
  await runtime.dispose()
  const { code } = await serving.end()
  expect(code).toBe(0)
})

const request = { model: NAME, prompt: 'The old captain', max_tokens: 12, seed: 5 }
/** More than is generated while any test waits. */
const endless = { ...request, max_tokens: 1_000_000, ignore_eos: true }

async function metrics(): Promise<string> {
  return (await fetch(`${serving.origin}/metrics`, { headers: { authorization: `Bearer ${KEY}` } })).text()
}

describe('OpenAI’s client', () => {
  test('lists the model, and finds it by its name', async () => {
    const models: string[] = []
    for await (const { id } of client.models.list()) models.push(id)
    expect(models).toEqual([NAME])
    expect(await client.models.retrieve(NAME)).toMatchObject({ id: NAME, object: 'model' })
    await expect(client.models.retrieve('gpt')).rejects.toBeInstanceOf(OpenAI.NotFoundError)
  })

  test('gets a completion at once', async () => {
    const expected = await model.complete('The old captain', { maxTokens: 12, seed: 5, temperature: 0.7, topK: 40 })
    const completion = await client.completions.create({
      ...request,
      temperature: 0.7,
      top_k: 40,
    } as OpenAI.CompletionCreateParamsNonStreaming)
    expect(completion.choices).toEqual([{ index: 0, text: expected.text, logprobs: null, finish_reason: 'length' }])
    expect(completion.usage).toMatchObject({ prompt_tokens: 3, completion_tokens: 12, total_tokens: 15 })
  })

  test('gets a completion as a stream, with its usage', async () => {
    const expected = await model.complete('The old captain', { maxTokens: 12, seed: 5 })
    const stream = await client.completions.create({ ...request, stream: true, stream_options: { include_usage: true } })
    let text = ''
    let usage: OpenAI.CompletionUsage | null | undefined
    const reasons: unknown[] = []
    for await (const chunk of stream) {
      text += chunk.choices[0]?.text ?? ''
      if (chunk.choices[0]?.finish_reason) reasons.push(chunk.choices[0].finish_reason)
      usage = chunk.usage
    }
    expect({ text, reasons }).toEqual({ text: expected.text, reasons: ['length'] })
    expect(usage).toMatchObject({ prompt_tokens: 3, completion_tokens: 12 })
  })

  test('sends token ids, several prompts, and asks for several choices', async () => {
    const ids = model.tokenizer.encode('The old captain')
    const prompts = [ids, model.tokenizer.encode('It was')]
    const { choices } = await client.completions.create({ ...request, prompt: prompts, n: 2 })
    const expected = await Promise.all(
      prompts.flatMap((prompt) => [5, 6].map(async (seed) => (await model.complete(prompt, { maxTokens: 12, seed })).text)),
    )
    expect(choices.map(({ text }) => text)).toEqual(expected)
    const single = await client.completions.create({ ...request, prompt: ids, echo: true, logprobs: 2, stop: ['\n', '.'] })
    expect(single.choices[0]!.text).toMatch(/^The old captain/)
    expect(single.choices[0]!.logprobs!.tokens!.slice(0, 3)).toEqual(['The', ' old', ' captain'])
  })

  test('cancels a stream, whose work then stops', async () => {
    const from = serving.log.length
    const stream = await client.completions.create({ ...endless, stream: true })
    for await (const chunk of stream) if (chunk.choices[0]!.text !== '') break
    expect(await serving.logged(/CLIENT_LEFT/, from)).toMatch(
      /POST \/v1\/completions 499 CLIENT_LEFT in .*read 3 tokens( \(\d cached\))?, wrote \d+$/,
    )
    const controller = new AbortController()
    const before = serving.log.length
    const waiting = client.completions.create(endless, { signal: controller.signal })
    await eventually(async () => expect(await metrics()).toMatch(/^routed_attention_sequences 1$/m))
    controller.abort()
    await expect(waiting).rejects.toBeInstanceOf(OpenAI.APIUserAbortError)
    await serving.logged(/CLIENT_LEFT/, before)
  })

  test('gets errors', async () => {
    const failing = (body: object) => client.completions.create({ ...request, ...body }).catch((error: unknown) => error)
    expect(await failing({ best_of: 3 })).toBeInstanceOf(OpenAI.BadRequestError)
    expect(await failing({ best_of: 3 })).toMatchObject({
      status: 400,
      code: 'BAD_ARGUMENT',
      param: 'best_of',
      type: 'invalid_request_error',
    })
    expect(await failing({ stream: true, max_tokens: -1 })).toMatchObject({ status: 400, param: 'max_tokens' })
    expect(await failing({ model: 'gpt' })).toBeInstanceOf(OpenAI.NotFoundError)
    const stranger = new OpenAI({ baseURL: `${serving.origin}/v1`, apiKey: 'wrong', maxRetries: 0 })
    await expect(stranger.completions.create(request)).rejects.toBeInstanceOf(OpenAI.AuthenticationError)
  })

  test('retries when the server is full', async () => {
    const busy = await client.completions.create({ ...endless, n: 4, stream: true })
    const iterator = busy[Symbol.asyncIterator]()
    await iterator.next()
    await expect(client.completions.create(request)).rejects.toMatchObject({ status: 503, code: 'OVERLOADED' })
    const from = serving.log.length
    const patient = client.completions.create(request, { maxRetries: 5 })
    await serving.logged(/503 OVERLOADED/, from)
    busy.controller.abort()
    expect((await patient).choices).toHaveLength(1)
  })
})
