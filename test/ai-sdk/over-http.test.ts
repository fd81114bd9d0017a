/** npm `ai` with `@ai-sdk/openai-compatible` against `routed-attention serve`, none of them written for the other. */
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { generateText, streamText } from 'ai'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { createRuntime, LanguageModel, type Runtime } from '../../src/index.js'
import { novels2Int8Folder } from '../support/models.js'
import { type Serving, startServing } from '../support/serving.js'

/** The provider warns of a setting that the AI SDK itself made. */
vi.stubGlobal('AI_SDK_LOG_WARNINGS', false)

const KEY = 'key-of-this-test'
const NAME = 'novels-10m-v2-int8'
let serving: Serving
let provider: ReturnType<typeof createOpenAICompatible>
let runtime: Runtime
let own: LanguageModel

beforeAll(async () => {
  serving = await startServing('--api-key', KEY, '--simd', 'baseline', '--max-tokens', '1000000')
  provider = createOpenAICompatible({ name: 'novels', baseURL: `${serving.origin}/v1`, apiKey: KEY, includeUsage: true })
  runtime = await createRuntime({ simd: 'baseline', threads: 1 })
  own = await LanguageModel.load(novels2Int8Folder, { runtime })
})
afterAll(async () => {
  await runtime.dispose()
  expect((await serving.end()).code).toBe(0)
})

const settings = {
  prompt: 'The old captain',
  seed: 3,
  temperature: 0.8,
  topP: 0.9,
  frequencyPenalty: 0.2,
  presencePenalty: 0.1,
  maxOutputTokens: 30,
}
/** What this provider makes of messages. */
const written = (prompt: string) => `user:\n${prompt}\n\nassistant:\n`
const ownSettings = { seed: 3, temperature: 0.8, topP: 0.9, frequencyPenalty: 0.2, presencePenalty: 0.1, maxTokens: 30, stop: ['\nuser:'] }
const model = () => provider.completionModel(NAME)

describe('the AI SDK over HTTP', () => {
  test('generates the same text as the model in process', async () => {
    const expected = await own.complete(written('The old captain'), ownSettings)
    const { text, finishReason, usage } = await generateText({ model: model(), ...settings })
    expect({ text, finishReason }).toEqual({ text: expected.text, finishReason: expected.finishReason })
    expect(usage).toMatchObject({ inputTokens: expected.usage.promptTokens, outputTokens: expected.usage.completionTokens })
  })

  test('streams it, with its usage', async () => {
    const expected = await own.complete(written('The old captain'), ownSettings)
    const result = streamText({ model: model(), ...settings })
    const pieces: string[] = []
    for await (const piece of result.textStream) pieces.push(piece)
    expect(pieces.join('')).toBe(expected.text)
    expect(pieces.length).toBeGreaterThan(10)
    expect(await result.finishReason).toBe(expected.finishReason)
    expect(await result.usage).toMatchObject({ inputTokens: expected.usage.promptTokens, outputTokens: expected.usage.completionTokens })
  })

  test('stops before a stop sequence, and passes on options that OpenAI does not have', async () => {
    const options = { ...ownSettings, topK: 20, minP: 0.02, repetitionPenalty: 1.2 }
    const whole = await own.complete(written('The old captain'), options)
    const stop = whole.text.slice(20, 23)
    const providerOptions = { novels: { top_k: 20, min_p: 0.02, repetition_penalty: 1.2 } }
    const { text, finishReason } = await generateText({ model: model(), ...settings, stopSequences: [stop], providerOptions })
    expect({ text, finishReason }).toEqual({ text: whole.text.slice(0, whole.text.indexOf(stop)), finishReason: 'stop' })
  })

  test('stops the work when it is aborted', async () => {
    const from = serving.log.length
    const leaving = new AbortController()
    const onAbort = vi.fn()
    const providerOptions = { novels: { ignore_eos: true } }
    const result = streamText({
      model: model(),
      ...settings,
      maxOutputTokens: 1_000_000,
      providerOptions,
      abortSignal: leaving.signal,
      onAbort,
    })
    let text = ''
    for await (const piece of result.textStream) {
      text += piece
      if (text.length > 20) leaving.abort()
    }
    expect(onAbort).toHaveBeenCalledOnce()
    const line = await serving.logged(/POST \/v1\/completions .*wrote [\d,]+/, from)
    expect(line).toMatch(/ 499 CLIENT_LEFT /)
  })

  test('reports errors, and retries only those that may pass', async () => {
    const from = serving.log.length
    const failed = (change: object) => generateText({ model: model(), ...settings, ...change })
    await expect(failed({ temperature: -1 })).rejects.toMatchObject({
      statusCode: 400,
      message: expect.stringMatching(/temperature/) as string,
    })
    await expect(failed({ model: provider.completionModel('gpt') })).rejects.toMatchObject({ statusCode: 404 })
    const locked = createOpenAICompatible({ name: 'novels', baseURL: `${serving.origin}/v1`, apiKey: 'another' })
    await expect(failed({ model: locked.completionModel(NAME) })).rejects.toMatchObject({ statusCode: 401 })
    await serving.logged(/ 401 /, from)
    expect(serving.log.slice(from).filter((line) => / POST .* 4\d\d /.test(line))).toHaveLength(3)
  })

  test('handles many requests at once, each with its own answer', async () => {
    const seeds = [1, 2, 3, 4, 5, 6, 7, 8]
    const answers = await Promise.all(seeds.map((seed) => generateText({ model: model(), ...settings, seed })))
    for (const [index, seed] of seeds.entries())
      expect(answers[index]!.text).toBe((await own.complete(written('The old captain'), { ...ownSettings, seed })).text)
  })
})
