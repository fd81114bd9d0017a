import { HttpServer } from '../lib/http-server.mjs'
import { caption } from '../lib/machine.mjs'
import { model } from '../lib/paths.mjs'
import { count, median, significant, times } from '../lib/statistics.mjs'
import { table } from '../lib/tables.mjs'

export const title = 'Time between tokens over HTTP'

const STREAMS = 16
/** Tokens of each stream's own prompt; their ends are spread over a window of 128, as those of strangers are. */
const PROMPT = 256
const SPREAD = 8
/** Tokens of the prompt that is read meanwhile. */
const LONG_PROMPT = 4000
/** At the beginning and the end of a round streams come and go; tokens of each that are not counted. */
const MARGIN = 4

const BATCHES = 'routed_attention_decode_batches_total'

export async function run({ quick }) {
  const rounds = quick ? 1 : 5
  const tokens = quick ? 60 : 160
  const rows = []
  for (const [name, args] of [
    ['int8', ['--quantize', 'int8', '--threads', '1']],
    ['float16', ['--threads', '1']],
    ['int8, two threads', ['--quantize', 'int8', '--threads', '2']],
  ]) {
    const server = await HttpServer.start([model, ...args, '--log', 'none', '--max-concurrent', String(2 * STREAMS)])
    try {
      await measure(server, 0, tokens, false) // warms up
      const results = []
      for (let round = 1; round <= rounds; round++) {
        const plain = await measure(server, 2 * round, tokens, false)
        results.push({ plain, reading: await measure(server, 2 * round + 1, tokens, true) })
      }
      const of = (figure) => median(results.map(figure))
      rows.push([
        name,
        significant(of(({ plain }) => plain.step)),
        significant(of(({ plain }) => quantile(plain.gaps, 0.5))),
        significant(of(({ plain }) => quantile(plain.gaps, 0.95))),
        significant(of(({ plain }) => quantile(plain.gaps, 0.99))),
        times(of(({ plain }) => quantile(plain.gaps, 0.95) / plain.step)),
        significant(of(({ reading }) => quantile(reading.gaps, 0.5))),
        significant(of(({ reading }) => quantile(reading.gaps, 0.95))),
        significant(of(({ plain, reading }) => quantile(reading.gaps, 0.95) - quantile(plain.gaps, 0.95))),
        significant(of(({ reading }) => reading.seconds)),
      ])
    } finally {
      await server.stop()
    }
  }
  return [
    `${STREAMS} streams of models/novels-10m from \`routed-attention serve\`, read by one process, each behind a prompt of its own of ${PROMPT} tokens or some more: milliseconds from one token to the next. A step is what one batch takes, from the beginning of one to that of the next (the server's own count of batches, over the time). While a prompt of ${count(LONG_PROMPT)} tokens is read for another client, its chunks come between the batches.`,
    table(
      [
        'weights',
        'step',
        'median',
        'p95',
        'p99',
        'p95 / step',
        'median, prompt being read',
        'p95, prompt being read',
        'p95: more than without',
        'seconds for the prompt',
      ],
      rows,
    ),
    caption(),
  ].join('\n\n')
}

/**
 * One round of streams.
 * @param isReading whether a long prompt is read meanwhile: the gaps are those until it has been
 * @returns milliseconds between tokens of a stream, those of a batch, and the seconds that the long prompt took
 */
async function measure(server, round, tokens, isReading) {
  const gaps = []
  const made = new Array(STREAMS).fill(0)
  let isCounting = false
  let begin
  let step
  let seconds
  let reading
  /** The batches so far, and when that was. */
  const now = async () => {
    const sent = performance.now()
    const batches = await server.metric(BATCHES)
    return { batches, at: (sent + performance.now()) / 2 }
  }
  const readLongPrompt = async () => {
    const start = performance.now()
    await server.complete({ prompt: promptOf(LONG_PROMPT, 1000 + round), max_tokens: 1 }, () => undefined)
    seconds = (performance.now() - start) / 1000
    isCounting = false
  }
  const stream = async (index) => {
    let last
    const prompt = promptOf(PROMPT + SPREAD * index, STREAMS * round + index)
    // log-probabilities: without them a token that completes no character is no event
    const body = { prompt, max_tokens: tokens, seed: index, ignore_eos: true, logprobs: 0 }
    await server.complete(body, () => {
      const at = performance.now()
      if (isCounting && last !== undefined) gaps.push(at - last)
      last = at
      made[index]++
      if (begin === undefined && Math.min(...made) === MARGIN) {
        isCounting = true
        begin = now()
        if (isReading) reading = readLongPrompt()
      }
      if (step === undefined && made[index] === tokens - MARGIN) {
        isCounting = false
        step = now()
      }
    })
  }
  await Promise.all(Array.from({ length: STREAMS }, (_, index) => stream(index)))
  await reading
  const [first, last] = [await begin, await step]
  return { gaps, step: (last.at - first.at) / (last.batches - first.batches), seconds }
}

/** Tokens of no particular text, different for each number. */
function promptOf(length, number) {
  return Array.from({ length }, (_, index) => (index * index + 7919 * (index + 1) * (number + 1)) % 4093)
}

function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]
}
