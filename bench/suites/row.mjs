import { caption } from '../lib/machine.mjs'
import { closeAll, inTurn, openRivals } from '../lib/rival.mjs'
import { median, medianRatio, percent, significant } from '../lib/statistics.mjs'
import { table } from '../lib/tables.mjs'

export const title = 'One row'

const DEPTH = 256

export async function run({ quick, note }) {
  const entries = await openRivals([{ name: 'ours', script: 'ours-products', args: { threads: 1 }, ours: true }], note)
  try {
    const [{ rival }] = entries
    const rounds = quick ? 5 : 25
    const seconds = quick ? 0.02 : 0.05
    const rows = []
    for (const megabytes of quick ? [40] : [1, 10, 20, 40]) {
      const columns = Math.round((megabytes * 1e6) / 4 / DEPTH / 32) * 32
      const byteLength = columns * DEPTH * 4
      await rival.call('prepare', 1, DEPTH, columns)
      // two jobs of one process, in turn
      const jobs = [
        { rival, method: ['time', seconds] },
        { rival, method: ['sum', byteLength, seconds] },
      ]
      const [product, sum] = await inTurn(jobs, rounds, async (_, { method }) => byteLength / (await rival.call(...method)))
      rows.push([
        `float32, ${megabytes} MB`,
        significant(median(product) / 1e9),
        significant(median(sum) / 1e9),
        percent(medianRatio(product, sum)),
      ])
    }
    return [
      `The product of one row with weights that are read once, as in decoding (depth ${DEPTH}), against a plain sum over the same array in the same process: GB/s, one thread.`,
      table(['weights', 'ours', 'plain sum', 'ours / sum'], rows),
      caption(),
    ].join('\n\n')
  } finally {
    await closeAll(entries)
  }
}
