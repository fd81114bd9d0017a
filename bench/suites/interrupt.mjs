import { caption } from '../lib/machine.mjs'
import { closeAll, openRunners, withThreads } from '../lib/runner.mjs'
import { count, median, medianRatio, significant } from '../lib/statistics.mjs'
import { table } from '../lib/tables.mjs'

export const title = 'How soon an abort is answered, and how long the event loop stands still'

/** Tokens of a prompt: some chunks of 256. */
const PROMPT = 1024
/** The longest that either may take, in milliseconds. */
const LIMIT = 150

const models = [
  { name: 'as novels-10m', config: { dim: 256, depth: 6, heads: 4 } },
  { name: '', config: { dim: 768, depth: 8, heads: 12 } },
  { name: '', config: { dim: 1024, depth: 14, heads: 16 } },
  { name: 'few layers, wide', config: { dim: 2048, depth: 3, heads: 32 } },
]

export async function run({ quick, note }) {
  const rows = []
  for (const { name, config } of models) {
    for (const threads of [1, 2]) {
      const entries = await openRunners([{ name: 'ours', script: 'ours-interrupt', args: { threads, config }, threads, ours: true }], note)
      try {
        for (const { runner, info } of withThreads(entries, note)) {
          const size = `${significant(info.numParameters / 1e6)} million${name && ` (${name})`}`
          rows.push([size, String(threads), info.loading, ...(await measure(runner, threads, info.numParameters, quick))])
        }
      } finally {
        await closeAll(entries)
      }
    }
  }
  const worst = Math.max(...rows.flatMap((row) => row.slice(2, 6)))
  if (worst > LIMIT) note(`the longest, ${significant(worst)} ms, is beyond the ${LIMIT} ms that are promised`)
  return [
    `Weights at random, float16. Milliseconds, each the longest seen: from an abort during a prefill of ${count(PROMPT)} tokens to the call's rejection, and between two turns of the event loop while the model is loaded, during a prefill, and while tokens are read one by one. On one thread a piece's work is left now and then, which costs what the last column says: prefill's speed, over that of work that is never left.`,
    table(
      [
        'parameters',
        'threads',
        'loop stands still: loading, ms',
        'abort, ms',
        'loop stands still: prefill, ms',
        'decoding, ms',
        'prefill, tokens/s',
        'to never left',
      ],
      rows.map((row) => row.map((value) => (typeof value === 'number' ? significant(value) : value))),
    ),
    caption(),
  ].join('\n\n')
}

async function measure(runner, threads, parameters, quick) {
  // some seconds of work at a time
  const length = Math.min(PROMPT, Math.max(128, 128 * Math.floor(2e8 / parameters)))
  await runner.call('prefill', 64, true)
  await runner.call('decode', 3)
  const aborts = []
  for (let i = 0; i < (quick ? 5 : 20); i++) aborts.push(await runner.call('abort', 16 * PROMPT, 40 + ((i * 97) % 400)))
  const left = []
  const whole = []
  for (let round = 0; round < (quick ? 1 : 5); round++) {
    left.push(await runner.call('prefill', length, true))
    if (threads === 1) whole.push(await runner.call('prefill', length, false))
  }
  const decoding = await runner.call('decode', quick ? 5 : 20)
  const seconds = (results) => results.map(({ milliseconds }) => milliseconds / 1000)
  return [
    Math.max(...aborts),
    Math.max(...left.map(({ longest }) => longest)),
    decoding.longest,
    length / median(seconds(left)),
    threads === 1 ? `${significant(1 / medianRatio(seconds(left), seconds(whole)), 2)}x` : undefined,
  ]
}
