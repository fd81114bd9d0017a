/** Streams that are read at the same time keep step: none misses a batch of the others. */
import { expect, test } from 'vitest'
import { LanguageModel } from '../../src/index.js'
import { createHandler } from '../../src/server/index.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, randomTokens, smallModel, smallModelFiles } from '../support/small-models.js'
import { requestOf } from './support.js'

const STREAMS = 16
const TOKENS = 60

test.each([
  ['choices of requests of their own', STREAMS, 1],
  ['choices of two requests', 2, STREAMS / 2],
])('%s have a token each in every batch', async (_name, requests, n) => {
  using runtime = openRuntime('relaxed')
  const model = await LanguageModel.load(smallModelFiles(smallModel({ ...causalConfig, num_tokens: 260 })), { runtime, tokenizer: 'bytes' })
  const handler = createHandler(model, { maxConcurrent: STREAMS })
  /** The number of batches when each choice's tokens were seen, which may be after further ones. */
  const batches: number[][] = []
  /** The tokens that so many batches had. */
  const tokensAfter = new Map<number, number>()
  const read = async (request: number) => {
    const prompt = randomTokens(20 + 3 * request, 260, request)
    const body = { prompt, n, max_tokens: TOKENS, ignore_eos: true, seed: request, logprobs: 0, stream: true }
    const response = await handler(requestOf('POST', '/v1/completions', body))
    const reader = response.body!.getReader()
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const text = new TextDecoder().decode(part.value)
      expect(text).toMatch(/^data: /)
      if (text.startsWith('data: [DONE]')) continue
      const { choices } = JSON.parse(text.slice('data: '.length)) as { choices: { index: number }[] }
      const times = (batches[request * n + choices[0]!.index] ??= [])
      const counts = model.decodeCounts!
      times.push(counts.batches)
      tokensAfter.set(counts.batches, counts.tokens)
    }
  }
  await Promise.all(Array.from({ length: requests }, (_, request) => read(request)))

  expect(batches.map((times) => times.length)).toEqual(new Array(STREAMS).fill(TOKENS))
  const allHaveBegun = Math.max(...batches.map((times) => times[0]!))
  // none can have ended before: a batch has one token of each
  const during = [...tokensAfter].filter(([count]) => count >= allHaveBegun && count < TOKENS).sort(([a], [b]) => a - b)
  const [[first, before], [last, after]] = [during[0]!, during.at(-1)]
  expect(last - first).toBeGreaterThan(TOKENS / 3)
  expect(after - before).toBe(STREAMS * (last - first))
})
