/** npm `ai`, which was not written here, with the model in its own process. */
import { generateObject, generateText, jsonSchema, NoObjectGeneratedError, Output, streamText, tool } from 'ai'
import { readFileSync } from 'node:fs'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { createRoutedAttention, type Constraint } from '../../src/ai-sdk/index.js'
import { createRuntime, LanguageModel, PrefixCache } from '../../src/index.js'
import { eventually } from '../support/eventually.js'
import { loadNovels, novelsFolder } from '../support/models.js'

/** What is used of the example of constrained output. */
interface Grammars {
  jsonSchema(schema: object): Promise<{
    start(): Promise<{ process: Constraint['logitsProcessor']; dispose(): void }>
    dispose(): void
  }>
}

const runtime = await createRuntime({ threads: 1 })
const model = await loadNovels(runtime)
afterAll(() => runtime.dispose())
const novels = createRoutedAttention(model)
const prompt = 'The old captain put down his glass, looked at the map, and'
const greedy = { temperature: 0, maxTokens: 24 }
/** The AI SDK logs warnings, once. */
vi.stubGlobal('AI_SDK_LOG_WARNINGS', false)

async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const parts: T[] = []
  for await (const part of stream) parts.push(part)
  return parts
}

describe('generateText', () => {
  test('returns the text, finish reason and usage of model.complete', async () => {
    const own = await model.complete(prompt, greedy)
    const { text, finishReason, usage, warnings, response } = await generateText({
      model: novels,
      prompt,
      temperature: 0,
      maxOutputTokens: 24,
    })
    expect({ text, finishReason, warnings }).toEqual({ text: own.text, finishReason: 'length', warnings: [] })
    expect(usage).toMatchObject({ inputTokens: own.usage.promptTokens, outputTokens: 24, totalTokens: own.usage.promptTokens + 24 })
    expect(response.modelId).toBe('routed-attention')
  })

  test('passes on the seed and all sampling options', async () => {
    const settings = { topK: 40, topP: 0.9, temperature: 0.8, frequencyPenalty: 0.4, presencePenalty: 0.3 }
    const own = await model.complete(prompt, {
      ...settings,
      maxTokens: 24,
      seed: 7,
      minP: 0.01,
      repetitionPenalty: 1.2,
      logitBias: { 0: -5 },
    })
    const providerOptions = { routedAttention: { minP: 0.01, repetitionPenalty: 1.2, logitBias: { 0: -5 } } }
    const write = (seed: number) => generateText({ model: novels, prompt, ...settings, seed, maxOutputTokens: 24, providerOptions })
    const [first, again, other] = await Promise.all([write(7), write(7), write(8)])
    expect(first.text).toBe(own.text)
    expect(again.text).toBe(own.text)
    expect(other.text).not.toBe(own.text)
    const plain = await generateText({ model: novels, prompt, seed: 7, maxOutputTokens: 24 })
    expect(plain.text).not.toBe(own.text)
  })

  test('stops before a stop sequence', async () => {
    const { text: whole } = await model.complete(prompt, greedy)
    const stop = whole.slice(12, 15)
    const { text, finishReason } = await generateText({
      model: novels,
      prompt,
      temperature: 0,
      maxOutputTokens: 24,
      stopSequences: [stop, '§'],
    })
    expect({ text, finishReason }).toEqual({ text: whole.slice(0, whole.indexOf(stop)), finishReason: 'stop' })
  })

  test('joins the texts of all messages', async () => {
    const own = await model.complete(prompt, greedy)
    const { text } = await generateText({
      model: novels,
      instructions: prompt.slice(0, 9),
      messages: [
        { role: 'user', content: prompt.slice(9, 14) },
        { role: 'assistant', content: [{ type: 'text', text: prompt.slice(14, 20) }] },
        {
          role: 'user',
          content: [
            { type: 'text', text: prompt.slice(20, 30) },
            { type: 'text', text: prompt.slice(30) },
          ],
        },
      ],
      temperature: 0,
      maxOutputTokens: 24,
    })
    expect(text).toBe(own.text)
  })

  test('uses the prompt that the option `prompt` makes of the messages, as text or ids, and no special tokens of users', async () => {
    const template = createRoutedAttention(model, {
      modelId: 'novels',
      prompt: (messages) =>
        messages
          .map(
            ({ role, content }) =>
              `${role}: ${typeof content === 'string' ? content : content.map((part) => (part.type === 'text' ? part.text : '')).join('')}\n`,
          )
          .join(''),
    })
    const written = 'system: Be brief.\nuser: Ahoy<|endoftext|>\n'
    const own = await model.complete(model.tokenizer.encode(written, { allowSpecial: false }), greedy)
    const { text, usage, response } = await generateText({
      model: template,
      instructions: 'Be brief.',
      prompt: 'Ahoy<|endoftext|>',
      temperature: 0,
      maxOutputTokens: 24,
    })
    expect(text).toBe(own.text)
    expect(usage.inputTokens).toBe(own.usage.promptTokens)
    expect(response.modelId).toBe('novels')

    const ids = [0, ...model.tokenizer.encode(prompt)]
    const withIds = createRoutedAttention(model, { prompt: () => ids })
    expect((await generateText({ model: withIds, prompt: 'x', temperature: 0, maxOutputTokens: 24 })).text).toBe(
      (await model.complete(ids, greedy)).text,
    )
  })

  test('warns about what it ignores', async () => {
    const { warnings, text } = await generateText({
      model: novels,
      messages: [
        {
          role: 'user',
          content: [
            { type: 'text', text: prompt },
            { type: 'file', data: new Uint8Array(3), mediaType: 'image/png' },
          ],
        },
      ],
      tools: { weather: tool({ description: 'the weather', inputSchema: jsonSchema<object>({ type: 'object' }) }) },
      reasoning: 'high',
      temperature: 0,
      maxOutputTokens: 24,
    })
    expect(warnings?.map((warning) => warning.type === 'unsupported' && warning.feature)).toEqual([
      'tools',
      'reasoning',
      "message part 'file'",
    ])
    expect(text).toBe((await model.complete(prompt, greedy)).text)
  })

  test('rejects with this package’s errors', async () => {
    const write = (settings: object) => generateText({ model: novels, prompt, maxRetries: 2, ...settings })
    await expect(write({ topP: 5 })).rejects.toMatchObject({
      code: 'BAD_ARGUMENT',
      message: expect.stringMatching(/topP must be .*, got 5/) as string,
    })
    await expect(write({ prompt: [{ role: 'user', content: '' }] })).rejects.toMatchObject({
      code: 'BAD_ARGUMENT',
      message: /at least one token/,
    })
    const providerOptions = { routedAttention: { minPee: 1 } }
    await expect(write({ providerOptions })).rejects.toMatchObject({ code: 'BAD_ARGUMENT', message: /minPee.*did you mean 'minP'/ })
    const other = await LanguageModel.load(novelsFolder, { runtime })
    const disposed = createRoutedAttention(other)
    other.dispose()
    await expect(generateText({ model: disposed, prompt })).rejects.toMatchObject({ code: 'DISPOSED' })
  })

  test('stops with the signal, even while a long prompt is read, and leaves nothing in memory', async () => {
    const { used } = runtime.info.memory
    for (const text of [prompt, prompt.repeat(300)]) {
      const leaving = new AbortController()
      setTimeout(() => leaving.abort(), 30)
      const endless = { prompt: text, maxOutputTokens: 1e6, providerOptions: { routedAttention: { ignoreEos: true } } }
      await expect(generateText({ model: novels, ...endless, abortSignal: leaving.signal })).rejects.toMatchObject({ name: 'AbortError' })
      await eventually(() => expect(runtime.info.memory.used).toBe(used))
    }
  })
})

describe('streamText', () => {
  test('streams the text of generateText, with its finish reason and usage', async () => {
    const settings = { model: novels, prompt, seed: 3, maxOutputTokens: 40 }
    const whole = await generateText(settings)
    const result = streamText(settings)
    const pieces = await collect(result.textStream)
    expect(pieces.length).toBeGreaterThan(20)
    expect(pieces.join('')).toBe(whole.text)
    expect(await result.finishReason).toBe('length')
    expect(await result.usage).toEqual(whole.usage)
  })

  test('stops with the signal, keeping what came before', async () => {
    const leaving = new AbortController()
    const onAbort = vi.fn()
    const onError = vi.fn()
    const { used } = runtime.info.memory
    const result = streamText({ model: novels, prompt, seed: 3, maxOutputTokens: 1e6, abortSignal: leaving.signal, onAbort, onError })
    let text = ''
    for await (const piece of result.textStream) {
      text += piece
      if (text.length > 60) leaving.abort()
    }
    expect(text.length).toBeLessThan(120)
    expect(onAbort).toHaveBeenCalledOnce()
    expect(onError).not.toHaveBeenCalled()
    await eventually(() => expect(runtime.info.memory.used).toBe(used))
  })

  test('reports an error in the middle of the stream', async () => {
    const failure = new Error('the test lets it fail')
    let tokens = 0
    const failing = createRoutedAttention(model, {
      constrain: () => ({
        logitsProcessor: () => {
          if (++tokens > 5) throw failure
        },
      }),
    })
    const onError = vi.fn()
    const result = streamText({ model: failing, prompt, output: Output.json(), onError })
    expect((await collect(result.textStream)).join('').length).toBeGreaterThan(0)
    expect(onError).toHaveBeenCalledWith({ error: failure })
  })
})

describe('with a constraint', async () => {
  const { Grammars } = (await import(new URL('../../examples/constrained-output/grammars.mjs', import.meta.url).href)) as {
    Grammars: { create(tokenizerJson: string, numTokens: number, stopTokenIds: number[]): Promise<Grammars> }
  }
  const stopTokenIds = model.tokenizer.encode('<|endoftext|>')
  const grammars = await Grammars.create(readFileSync(new URL('tokenizer.json', novelsFolder), 'utf8'), model.config.numTokens, [
    ...stopTokenIds,
  ])
  let open = 0
  const constrained = createRoutedAttention(model, {
    constrain: async (schema) => {
      const grammar = await grammars.jsonSchema(schema)
      const constraint = await grammar.start()
      open++
      return {
        logitsProcessor: constraint.process,
        stopTokenIds,
        dispose() {
          constraint.dispose()
          grammar.dispose()
          open--
        },
      }
    },
  })
  interface Character {
    name: string
    age: number
    carries: string[]
  }
  const schema = jsonSchema<Character>(
    JSON.parse(readFileSync(new URL('../../examples/constrained-output/character.json', import.meta.url), 'utf8')) as object,
  )
  const settings = { prompt: 'The captain’s name and age, and what he carries: ', temperature: 0.7, maxOutputTokens: 400, seed: 1 }
  const expectCharacter = ({ name, age, carries }: Character) => {
    expect(name).toMatch(/^[A-Z][a-z]{2,9}( [A-Z][a-z]{2,9})?$/)
    expect(Number.isInteger(age)).toBe(true)
    expect(carries.every((thing) => typeof thing === 'string')).toBe(true)
  }

  test('generateText and streamText return an object that matches the schema', async () => {
    const { output, warnings, finishReason } = await generateText({ model: constrained, ...settings, output: Output.object({ schema }) })
    expectCharacter(output)
    expect({ warnings, finishReason }).toEqual({ warnings: [], finishReason: 'stop' })
    const streamed = streamText({ model: constrained, ...settings, output: Output.object({ schema }) })
    const partial = await collect(streamed.partialOutputStream)
    expect(partial.length).toBeGreaterThan(3)
    expect(await streamed.output).toEqual(output)
    expect(open).toBe(0)
  })

  test('generateObject does too', async () => {
    const { object } = await generateObject({ model: constrained, ...settings, schema })
    expectCharacter(object)
  })

  test('a truncated answer is no object, and an abort disposes of the constraint', async () => {
    const cut = generateText({ model: constrained, ...settings, maxOutputTokens: 5, output: Output.object({ schema }) })
    await expect(cut.then(({ output }) => output)).rejects.toThrow(NoObjectGeneratedError)
    const leaving = new AbortController()
    const aborted = generateText({ model: constrained, ...settings, output: Output.object({ schema }), abortSignal: leaving.signal })
    leaving.abort()
    await expect(aborted).rejects.toMatchObject({ name: 'AbortError' })
    await eventually(() => expect(open).toBe(0))
  })
})

describe('with a prefix cache', () => {
  test('reads the turns of a conversation once, and every answer is the same as without it', async () => {
    const cached = createRoutedAttention(model, { prefixCache: new PrefixCache(model) })
    let story = prompt
    const known: (number | undefined)[] = []
    for (let turn = 0; turn < 3; turn++) {
      const settings = { prompt: story, maxOutputTokens: 30, seed: turn, providerOptions: { routedAttention: { repetitionPenalty: 1.3 } } }
      const [plain, answer] = await Promise.all([
        generateText({ model: novels, ...settings }),
        generateText({ model: cached, ...settings }),
      ])
      expect(answer.text).toBe(plain.text)
      expect(answer.usage.inputTokens).toBe(plain.usage.inputTokens)
      known.push(answer.usage.inputTokenDetails.cacheReadTokens)
      story += `${answer.text} Then he rose, and`
    }
    expect(known[0]).toBe(0)
    expect(known[1]).toBeGreaterThanOrEqual(model.tokenizer.encode(prompt).length)
    expect(known[2]).toBeGreaterThan(known[1]!)
  })

  test('must belong to the same model', async () => {
    const other = await LanguageModel.load(novelsFolder, { runtime })
    expect(() => createRoutedAttention(model, { prefixCache: new PrefixCache(other) })).toThrow(
      /prefixCache must be a PrefixCache of this model/,
    )
    other.dispose()
  })
})
