import { caption } from '../lib/machine.mjs'
import { layerFlop } from '../lib/recipe.mjs'
import { inTurn } from '../lib/rounds.mjs'
import { closeAll, openRunners } from '../lib/runner.mjs'
import { count, median, significant } from '../lib/statistics.mjs'
import { table } from '../lib/tables.mjs'

export const title = 'What a token costs as the input grows'

const lengths = [1024, 4096, 16384, 65536]

const layers = [
  { name: 'coordinate descent', args: {} },
  { name: 'top-k', args: { selection: 'top-k' } },
  { name: 'strictly causal, top-k', args: { selection: 'top-k', causal: true } },
]

export async function run({ quick, note }) {
  const entries = await openRunners(
    layers.map((layer) => ({ ...layer, script: 'ours-layer', ours: true })),
    note,
  )
  try {
    const rows = []
    for (const n of quick ? lengths.slice(0, 2) : lengths) {
      for (const { runner } of entries) await runner.call('prepareLayer', n)
      const seconds = await inTurn(entries, quick ? 3 : n > 16384 ? 5 : 9, (runner) => runner.call('time', quick ? 0 : 0.3))
      const least = layerFlop[n] === undefined ? undefined : significant(layerFlop[n] / n / 1e6)
      rows.push([count(n), ...seconds.map((values) => significant((median(values) * 1e6) / n)), least])
    }
    return [
      'Microseconds a token of one forward of the layer above, one thread, by how tokens are selected. The full-sequence layer selects from all earlier windows for every window; the strictly causal one keeps a context of fixed size.',
      table(['n', ...layers.map(({ name }) => name), 'least MFLOP a token'], rows),
      caption(),
    ].join('\n\n')
  } finally {
    await closeAll(entries)
  }
}
