import { writeBaseline } from '../constant-memory/files.mjs'
import { models as baselines, WINDOW } from '../constant-memory/models.mjs'
import { runSweep, sweepTable } from '../lib/sweep.mjs'
import { caption } from '../lib/machine.mjs'
import { closeAll, openRunners } from '../lib/runner.mjs'
import { count, mebibytes, significant } from '../lib/statistics.mjs'
import { table } from '../lib/tables.mjs'

export const title = 'Against models whose memory does not grow either'

const positions = [256, 2048, 8192, 16384]
const quickPositions = [256, 1024]
/** The models whose saved state is measured. */
const SAVED_AT = 2048

/** Pairs of equal precision, and what int8 gains. */
const RATIOS = [
  ['ours, int8', 'sliding window, Q8_0'],
  ['ours, int8', 'RWKV-7, Q8_0'],
  ['ours, float32', 'sliding window'],
  ['ours, float32', 'RWKV-7'],
  ['ours, int8', 'ours, float32'],
]

export async function run({ quick, note }) {
  const sweep = quick ? quickPositions : positions
  const rounds = quick ? 3 : 9
  const tokens = quick ? 8 : 32
  const room = sweep.at(-1) + 4 * rounds * tokens
  const ofOurs = (name, args) => ({ name, script: 'ours-model', args: { threads: 1, ...args }, ours: true, last: Infinity })
  const ofLlama = (name, file) => ({ name, script: 'llama', args: { file, positions: room }, last: Infinity })
  const others = Object.keys(baselines).flatMap((name) => {
    const files = writeBaseline(name)
    return [ofLlama(name, files.f32), ofLlama(`${name}, Q8_0`, files.q8_0)]
  })
  const models = [
    ofOurs('ours, int8', { weights: 'int8' }),
    ofOurs('ours, float16', {}),
    ofOurs('ours, float32', { weights: 'float32' }),
    ...others,
  ]
  const entries = await openRunners(models, note)
  try {
    const points = await runSweep(entries, sweep, { rounds, tokens })
    const rows = (what) => sweepTable(points, what, models, RATIOS)
    const states = []
    for (const { name, runner, info } of entries) {
      await runner.call('prefill', quick ? sweep.at(-1) : SAVED_AT)
      states.push([
        name,
        significant(info.numParameters / 1e6),
        mebibytes(await runner.call('savedBytes')),
        mebibytes(await runner.call('peakMemory')),
      ])
    }
    const sizes = Object.entries(baselines).map(
      ([name, { architecture, numParameters }]) => `${name} (${architecture}, ${count(numParameters)} parameters)`,
    )
    return [
      `Tokens a second, one thread. Ours is models/novels-10m; the baselines are models of the same size and of random weights that continue a text in constant memory too, natively in llama.cpp, float32 and Q8_0: ${sizes.join(', ')}. The sliding window sees ${WINDOW} tokens, and nothing before them. Speed does not depend on the weights; how well these would predict is not compared here.`,
      'Prefill:',
      rows('prefill'),
      'Decoding:',
      rows('decode'),
      `Parameters, the state that is saved behind ${count(quick ? sweep.at(-1) : SAVED_AT)} tokens, and peak memory of the process:`,
      table(['', 'million parameters', 'saved state', 'peak memory'], states),
      caption(['node-llama-cpp']),
    ].join('\n\n')
  } finally {
    await closeAll(entries)
  }
}
