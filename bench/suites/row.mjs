import { caption } from '../lib/machine.mjs'
import { inTurn } from '../lib/rounds.mjs'
import { closeAll, openRunners } from '../lib/runner.mjs'
import { median, medianRatio, percent, significant, times } from '../lib/statistics.mjs'
import { table } from '../lib/tables.mjs'

export const title = 'One row'

const DEPTH = 256

export async function run({ quick, note }) {
  const entries = await openRunners([{ name: 'ours', script: 'ours-products', args: { threads: 1 }, ours: true }], note)
  try {
    const [{ runner }] = entries
    const rounds = quick ? 5 : 25
    const seconds = quick ? 0.02 : 0.05
    const rows = []
    for (const millions of quick ? [10] : [0.25, 2.5, 5, 10]) {
      const columns = Math.round((millions * 1e6) / DEPTH / 32) * 32
      const weights = columns * DEPTH
      // jobs of one process, in turn; each prepares its weights once and keeps them
      const jobs = [
        { runner, format: 0, method: ['time', seconds] },
        { runner, format: 0, method: ['sum', weights * 4, seconds] },
        { runner, format: 1, method: ['time', seconds] },
      ]
      for (const format of [0, 1]) await runner.call('prepare', 1, DEPTH, columns, undefined, format)
      const [float32, sum, float16] = await inTurn(jobs, rounds, async (_, { format, method }) => {
        await runner.call('choose', format)
        return weights / (await runner.call(...method))
      })
      rows.push([
        `${millions} million`,
        significant(median(float32) / 1e9),
        significant((4 * median(float32)) / 1e9),
        significant((4 * median(sum)) / 1e9),
        percent(medianRatio(float32, sum)),
        significant(median(float16) / 1e9),
        times(medianRatio(float16, float32)),
      ])
    }
    return [
      `The product of one row with weights that are read once, as in decoding (depth ${DEPTH}), against a plain sum over the same array in the same process, one thread. Float16 weights are widened in registers.`,
      table(
        ['weights', 'float32, 10⁹ weights/s', 'GB/s', 'plain sum, GB/s', 'float32 / sum', 'float16, 10⁹ weights/s', 'float16 / float32'],
        rows,
      ),
      caption(),
    ].join('\n\n')
  } finally {
    await closeAll(entries)
  }
}
