import { caption } from '../lib/machine.mjs'
import { inTurn } from '../lib/rounds.mjs'
import { closeAll, openRunners, withThreads } from '../lib/runner.mjs'
import { count, median, medianRatio, significant, times } from '../lib/statistics.mjs'
import { table } from '../lib/tables.mjs'
import { writeBaseline } from '../constant-memory/files.mjs'

export const title = 'Many sessions at once'

const POSITION = 256
const COUNTS = [1, 4, 16, 64]
/** The number at which rivals are measured, and two threads. */
const MANY = 16

export async function run({ quick, note }) {
  const rounds = quick ? 3 : 9
  const tokens = quick ? 8 : 24
  const ofOurs = (name, args) => ({ name, script: 'ours-model', args: { threads: 1, ...args }, threads: args.threads ?? 1, ours: true })
  const rivals = ['sliding window', 'RWKV-7'].flatMap((name) => {
    const files = writeBaseline(name)
    const of = (file) => ({ script: 'llama', args: { file, positions: 1024 } })
    return [
      { name, ...of(files.f32) },
      { name: `${name}, Q8_0`, ...of(files.q8_0) },
    ]
  })
  const entries = await openRunners(
    [
      ofOurs('ours, float16', {}),
      ofOurs('ours, int8', { weights: 'int8' }),
      ofOurs('ours, float32', { weights: 'float32' }),
      ofOurs('ours, float16, two threads', { threads: 2 }),
      ofOurs('ours, int8, two threads', { threads: 2, weights: 'int8' }),
      ...rivals,
    ],
    note,
  )
  try {
    const used = withThreads(entries, note)
    const counts = quick ? [1, MANY] : COUNTS
    /** Seconds of each round, by name and number of sessions. */
    const seconds = new Map(used.map(({ name }) => [name, new Map()]))
    await inTurn(used, 1, (runner) => runner.call('openTogether', counts.at(-1), POSITION))
    await inTurn(used, 1, (runner) => runner.call('decodeTogether', MANY, tokens))
    for (const sessions of counts) {
      const results = await inTurn(used, rounds, (runner) => runner.call('decodeTogether', sessions, tokens))
      results.forEach((each, index) => seconds.get(used[index].name).set(sessions, each))
    }
    const rate = (name, sessions) => (sessions * tokens) / median(seconds.get(name).get(sessions))
    const gain = (name, sessions) => {
      const [one, many] = [seconds.get(name).get(1), seconds.get(name).get(sessions)]
      return times(sessions * medianRatio(one, many))
    }
    const rows = used.map(({ name }) => [
      name,
      ...counts.map((sessions) => `${significant(rate(name, sessions))}${sessions === 1 ? '' : ` (${gain(name, sessions)})`}`),
      split(seconds.get(name), counts.at(-2), counts.at(-1), tokens),
    ])
    const against = [
      ['ours, float32', 'sliding window'],
      ['ours, float32', 'RWKV-7'],
      ['ours, int8', 'sliding window, Q8_0'],
      ['ours, int8', 'RWKV-7, Q8_0'],
      ['ours, float16, two threads', 'ours, float16'],
      ['ours, int8, two threads', 'ours, int8'],
    ].filter((pair) => pair.every((name) => seconds.has(name)))
    const ratios = against.map(([ours, theirs]) => [
      `${ours} / ${theirs}`,
      times(medianRatio(seconds.get(theirs).get(MANY), seconds.get(ours).get(MANY))),
    ])
    return [
      `Tokens a second of all sessions together, each behind ${POSITION} tokens of its own, on one thread unless it says two; in brackets, in how many sessions' time one session does that. The last column divides a step of many sessions: what is shared by all, and what each adds. The model and its rivals are those of the previous section.`,
      table(['sessions', ...counts.map(count), 'shared + own'], rows),
      `At ${MANY} sessions:`,
      table(['', 'times as many tokens a second'], ratios),
      caption(['node-llama-cpp']),
    ].join('\n\n')
  } finally {
    await closeAll(entries)
  }
}

/** Milliseconds of a step: what does not depend on the number of sessions, and what each of them adds. */
function split(seconds, few, many, tokens) {
  const step = (sessions) => (1000 * median(seconds.get(sessions))) / tokens
  const own = (step(many) - step(few)) / (many - few)
  return `${significant(step(few) - few * own)} + ${significant(own)} ms`
}
