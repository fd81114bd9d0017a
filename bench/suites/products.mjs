import { assertAgreement, outputFile } from '../lib/agreement.mjs'
import { caption } from '../lib/machine.mjs'
import { closeAll, inTurn, openRivals, withThreads } from '../lib/rival.mjs'
import { median, medianRatio, percent, significant, times } from '../lib/statistics.mjs'
import { table } from '../lib/tables.mjs'

export const title = 'Matrix products'

/** [m, k, n], and what of the layer it is. */
const sizes = [
  [64, 64, 64],
  [128, 128, 128],
  [256, 256, 256],
  [512, 512, 512],
  [1024, 1024, 1024],
  [128, 256, 768],
  [128, 256, 1024],
  [128, 1024, 256],
]
const quickSizes = [sizes[1], sizes[3], sizes[5]]

const packages = ['onnxruntime-web', 'onnxruntime-node', '@tensorflow/tfjs-backend-wasm']

const rivals = [
  { name: 'ours', script: 'ours-products', args: { threads: 1 }, ours: true, threads: 1 },
  { name: 'ours, 2 threads', script: 'ours-products', args: { threads: 2 }, ours: true, threads: 2 },
  { name: 'onnxruntime-web', script: 'onnxruntime', args: { kind: 'web' }, threads: 1 },
  { name: 'tfjs-wasm', script: 'tfjs', args: {}, threads: 1 },
  { name: 'onnxruntime-node (native)', script: 'onnxruntime', args: { kind: 'node' }, threads: 1 },
]

export async function run({ quick, note }) {
  const entries = await openRivals(rivals, note)
  try {
    const used = withThreads(entries, note)
    const rounds = quick ? 3 : 9
    const seconds = quick ? 0.08 : 0.25
    const ours = used[0]
    const rows = []
    for (const size of quick ? quickSizes : sizes) {
      const [m, k, n] = size
      for (const [index, { rival }] of used.entries()) await rival.call('prepare', m, k, n, outputFile(index))
      assertAgreement(
        `product ${size.join(' x ')}`,
        used.map(({ name }) => name),
        1e-5,
      )
      const ceilings = []
      const measured = await inTurn(used, rounds, async (rival, entry) => {
        if (entry === ours) ceilings.push(await rival.call('ceiling', 0.05))
        return (2 * m * k * n) / (await rival.call('time', seconds))
      })
      const of = (name) => measured[used.findIndex((entry) => entry.name === name)]
      const figure = (name) => (of(name) ? significant(median(of(name)) / 1e9) : undefined)
      const ratio = (name) => (of(name) ? times(medianRatio(measured[0], of(name))) : undefined)
      rows.push([
        size.join(' × '),
        figure('ours'),
        percent(medianRatio(measured[0], ceilings)),
        ...rivals.slice(1).map(({ name }) => figure(name)),
        ...rivals.slice(2).map(({ name }) => ratio(name)),
      ])
    }
    const { simd, kernels } = ours.info
    return [
      `GFLOP/s of y (m, n) = x (m, k) · b (k, n), float32, one thread unless it says otherwise; b is constant, so that who can packs it once. Ours runs ${simd} SIMD, tiles ${kernels.tile}. The ceiling is the same arithmetic in registers only, measured between the rounds in the same process.`,
      table(
        ['m × k × n', 'ours', 'of the ceiling', ...rivals.slice(1).map(({ name }) => name), 'ours / web', 'ours / tfjs', 'ours / native'],
        rows,
      ),
      caption(packages),
    ].join('\n\n')
  } finally {
    await closeAll(entries)
  }
}
