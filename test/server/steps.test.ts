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
  /** The number of batches when each choice's tokens came. */
  const batches: number[][] = []
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
      times.push(model.decodeCounts!.batches)
    }
  }
  await Promise.all(Array.from({ length: requests }, (_, request) => read(request)))

  expect(batches.map((times) => times.length)).toEqual(new Array(STREAMS).fill(TOKENS))
  const allHaveBegun = Math.max(...batches.map((times) => times[0]!))
  const firstEnd = Math.min(...batches.map((times) => times.at(-1)))
  expect(firstEnd - allHaveBegun).toBeGreaterThan(TOKENS / 2)
  for (const times of batches) {
    const during = times.filter((time) => time >= allHaveBegun && time <= firstEnd)
    expect(during).toEqual(during.map((_, index) => during[0]! + index))
    expect(during.length).toBeGreaterThanOrEqual(firstEnd - allHaveBegun)
  }
})
