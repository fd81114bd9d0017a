/** The provider interface itself, where `ai` does not show what it does. */
import type { LanguageModelV4CallOptions, LanguageModelV4StreamPart } from '@ai-sdk/provider'
import { afterAll, expect, test, vi } from 'vitest'
import { createRoutedAttention } from '../../src/ai-sdk/index.js'
import { LanguageModel } from '../../src/index.js'
import { expectThrows } from '../support/errors.js'
import { eventually } from '../support/eventually.js'
import { outcomeOf } from '../support/interruptions.js'
import { recitingModelFiles } from '../support/reciting-model.js'
import { openRuntime } from '../support/runtimes.js'

const runtime = openRuntime('baseline')
const pieces = ['b', 'c', 'd', 'e', 'f', 'g']
const model = await LanguageModel.load(recitingModelFiles(pieces), { runtime })
afterAll(() => runtime.dispose())
const reciting = createRoutedAttention(model)
const call = (options: Partial<LanguageModelV4CallOptions> = {}): LanguageModelV4CallOptions => ({
  prompt: [{ role: 'user', content: [{ type: 'text', text: 'a' }] }],
  temperature: 0,
  maxOutputTokens: 4,
  ...options,
})

async function collect(stream: ReadableStream<LanguageModelV4StreamPart>): Promise<LanguageModelV4StreamPart[]> {
  const parts: LanguageModelV4StreamPart[] = []
  for await (const part of stream as unknown as AsyncIterable<LanguageModelV4StreamPart>) parts.push(part)
  return parts
}

const usage = {
  inputTokens: { total: 1, noCache: 1, cacheRead: 0, cacheWrite: undefined },
  outputTokens: { total: 4, text: 4, reasoning: 0 },
}

test('describes itself', () => {
  expect(reciting).toMatchObject({
    specificationVersion: 'v4',
    provider: 'routed-attention',
    modelId: 'routed-attention',
    supportedUrls: {},
  })
})

test('returns a complete answer', async () => {
  expect(await reciting.doGenerate(call())).toEqual({
    content: [{ type: 'text', text: 'bcde' }],
    finishReason: { unified: 'length', raw: 'length' },
    usage,
    warnings: [],
    response: { modelId: 'routed-attention', timestamp: expect.any(Date) as Date },
  })
})

test('warns about JSON without a constraint', async () => {
  const { warnings } = await reciting.doGenerate(call({ responseFormat: { type: 'json', schema: {} } }))
  expect(warnings).toEqual([{ type: 'unsupported', feature: 'responseFormat', details: expect.stringMatching(/constraint/) as string }])
  const constrain = vi.fn(() => ({ logitsProcessor: (logits: Float32Array) => void logits.fill(-Infinity, 3), stopTokenIds: [2] }))
  const constrained = createRoutedAttention(model, { constrain })
  const schema = { type: 'object' } as const
  const answer = await constrained.doGenerate(call({ responseFormat: { type: 'json', schema } }))
  expect(answer).toMatchObject({ warnings: [], content: [{ text: 'b' }], finishReason: { unified: 'stop' } })
  await constrained.doGenerate(call({ responseFormat: { type: 'json' } }))
  await constrained.doGenerate(call({ responseFormat: { type: 'text' } }))
  expect(constrain.mock.calls).toEqual([[schema], [{}]])
})

test('leaves no listener on a signal', async () => {
  const { signal } = new AbortController()
  const added = vi.spyOn(signal, 'addEventListener')
  const removed = vi.spyOn(signal, 'removeEventListener')
  await reciting.doGenerate(call({ abortSignal: signal }))
  await collect((await reciting.doStream(call({ abortSignal: signal }))).stream)
  await reciting.doStream(call({ abortSignal: signal })) // never read
  expect(added.mock.calls.length).toBeGreaterThan(0)
  expect(removed.mock.calls.length).toBe(added.mock.calls.length)
})

test("streams it in the interface's order, with raw tokens if requested", async () => {
  const { stream } = await reciting.doStream(
    call({ stopSequences: ['f'], maxOutputTokens: 9, includeRawChunks: true, tools: [{ type: 'function', name: 'x', inputSchema: {} }] }),
  )
  const parts = await collect(stream)
  expect(parts.filter(({ type }) => type !== 'raw')).toEqual([
    { type: 'stream-start', warnings: [{ type: 'unsupported', feature: 'tools', details: expect.any(String) as string }] },
    { type: 'response-metadata', modelId: 'routed-attention', timestamp: expect.any(Date) as Date },
    { type: 'text-start', id: 'text' },
    ...['b', 'c', 'd', 'e'].map((delta) => ({ type: 'text-delta', id: 'text', delta })),
    { type: 'text-end', id: 'text' },
    {
      type: 'finish',
      finishReason: { unified: 'stop', raw: 'stop' },
      usage: { ...usage, outputTokens: { total: 5, text: 5, reasoning: 0 } },
    },
  ])
  const raw = parts.flatMap((part) => (part.type === 'raw' ? [part.rawValue] : []))
  expect(raw).toEqual([1, 2, 3, 4, 5].map((id) => expect.objectContaining({ id, logprob: expect.any(Number) as number }) as object))
})

test('generates only what is read, and stops when the reader cancels', async () => {
  const { used } = runtime.info.memory
  const { stream } = await reciting.doStream(call({ maxOutputTokens: 1e9 }))
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(runtime.info.memory.used).toBe(used) // nothing was begun
  const reader = stream.getReader()
  for (let part = 0; part < 6; part++) await reader.read()
  expect(runtime.info.memory.used).toBeGreaterThan(used)
  await reader.cancel()
  await eventually(() => expect(runtime.info.memory.used).toBe(used))
})

test('stops when the reader cancels while a constraint or a token is pending', async () => {
  const dispose = vi.fn()
  let made: (() => void) | undefined
  const slow = createRoutedAttention(model, {
    constrain: () => new Promise((resolve) => (made = () => resolve({ logitsProcessor: () => new Promise(() => undefined), dispose }))),
  })
  for (const isMade of [false, true]) {
    const { used } = runtime.info.memory
    dispose.mockClear()
    const { stream } = await slow.doStream(call({ responseFormat: { type: 'json' } }))
    const reader = stream.getReader()
    for (let part = 0; part < 3; part++) await reader.read()
    const pending = reader.read()
    await eventually(() => expect(made).toBeDefined())
    if (isMade) {
      made!()
      await eventually(() => expect(runtime.info.memory.used).toBeGreaterThan(used))
    }
    await reader.cancel()
    expect(await pending).toEqual({ done: true, value: undefined })
    if (!isMade) made!()
    await eventually(() => expect(dispose).toHaveBeenCalledOnce())
    await eventually(() => expect(runtime.info.memory.used).toBe(used))
    made = undefined
  }
})

test('an abort ends the stream with the signal’s reason; an error becomes a part of it', async () => {
  const leaving = new AbortController()
  const { stream } = await reciting.doStream(call({ maxOutputTokens: 1e9, abortSignal: leaving.signal }))
  const reader = stream.getReader()
  for (let part = 0; part < 6; part++) await reader.read()
  leaving.abort('gone')
  expect(await outcomeOf(reader.read())).toEqual({ reason: 'gone' })
  expect(await outcomeOf(Promise.resolve(reciting.doStream(call({ abortSignal: AbortSignal.abort('no') }))))).toEqual({ reason: 'no' })

  const failing = createRoutedAttention(model, { constrain: () => ({}) as never })
  const { stream: failed } = await failing.doStream(call({ responseFormat: { type: 'json' } }))
  expect((await collect(failed)).slice(-3)).toEqual([
    {
      type: 'error',
      error: expect.objectContaining({
        code: 'BAD_ARGUMENT',
        message: 'constrain must return an object with a logitsProcessor, got an object',
      }) as Error,
    },
    { type: 'text-end', id: 'text' },
    {
      type: 'finish',
      finishReason: { unified: 'error', raw: 'BAD_ARGUMENT' },
      usage: { ...usage, outputTokens: { total: 0, text: 0, reasoning: 0 } },
    },
  ])
})

test('bad arguments of a call reject before anything is streamed', async () => {
  const rejected = async (options: Partial<LanguageModelV4CallOptions>, message: RegExp, of = reciting) => {
    for (const method of ['doGenerate', 'doStream'] as const)
      expect(await outcomeOf(Promise.resolve(of[method](call(options))))).toMatchObject({
        reason: { code: 'BAD_ARGUMENT', message: expect.stringMatching(message) as string },
      })
  }
  await rejected({ temperature: -1 }, /temperature must be/)
  await rejected({ prompt: [] }, /at least one token/)
  await rejected({ abortSignal: 5 as never }, /abortSignal must be an AbortSignal|signal must be an AbortSignal/)
  await rejected({}, /prompt must return a text or token ids, got 5/, createRoutedAttention(model, { prompt: () => 5 as never }))
  await rejected({}, /token id 0 must be an integer from 0 to 6, got 7/, createRoutedAttention(model, { prompt: () => [7] }))
})

test('bad options are rejected', () => {
  expectThrows(() => createRoutedAttention(undefined as never), 'BAD_ARGUMENT', /model must be a LanguageModel, got undefined/)
  expectThrows(() => createRoutedAttention(model, { promt: () => '' } as never), 'BAD_ARGUMENT', /did you mean 'prompt'/)
  expectThrows(() => createRoutedAttention(model, { prompt: 'x' as never }), 'BAD_ARGUMENT', /prompt must be a function, got "x"/)
  expectThrows(() => createRoutedAttention(model, { constrain: 1 as never }), 'BAD_ARGUMENT', /constrain must be a function, got 1/)
  expectThrows(() => createRoutedAttention(model, { modelId: 1 as never }), 'BAD_ARGUMENT', /modelId must be a text, got 1/)
  expectThrows(
    () => createRoutedAttention(model, { prefixCache: {} as never }),
    'BAD_ARGUMENT',
    /prefixCache must be a PrefixCache of this model/,
  )
})
