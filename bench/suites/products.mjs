import { assertAgreement, outputFile } from '../lib/agreement.mjs'
import { installedEngines } from '../lib/engines.mjs'
import { caption } from '../lib/machine.mjs'
import { inTurn } from '../lib/rounds.mjs'
import { closeAll, openRunners, withThreads } from '../lib/runner.mjs'
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

const candidates = [
  { name: 'ours', script: 'ours-products', args: { threads: 1 }, ours: true, threads: 1 },
  { name: 'ours, plain', script: 'ours-products', args: { threads: 1, simd: 'baseline' }, ours: true, threads: 1 },
  { name: 'ours, 256-bit', script: 'ours-products', args: { threads: 1, revectorize: true }, ours: true, threads: 1 },
  { name: 'ours, 2 threads', script: 'ours-products', args: { threads: 2 }, ours: true, threads: 2 },
  { name: 'onnxruntime-web', script: 'onnxruntime', args: { kind: 'web' }, threads: 1 },
  { name: 'tfjs-wasm', script: 'tfjs', args: {}, threads: 1 },
  { name: 'onnxruntime-node (native)', script: 'onnxruntime', args: { kind: 'node' }, threads: 1 },
]

/** 1024³ on engines beside Node 24, each against its own ceiling. */
async function otherEngines(quick, note) {
  const engines = installedEngines(note)
  const rows = []
  for (const { name, binary, flags } of engines) {
    const [entry] = await openRunners([{ name, script: 'ours-products', args: { threads: 1 }, binary, flags }], note)
    if (!entry) continue
    try {
      const { runner, info } = entry
      const n = 1024
      await runner.call('prepare', n, n, n)
      const ceilings = []
      const speeds = []
      for (let round = 0; round < (quick ? 3 : 9); round++) {
        const { seconds, flops } = await runner.call('timeBesideCeiling', quick ? 0.08 : 0.25)
        ceilings.push(flops)
        speeds.push((2 * n ** 3) / seconds)
      }
      const speed = significant(median(speeds) / 1e9)
      rows.push([name, info.simd, info.kernels.tile, speed, significant(median(ceilings) / 1e9), percent(medianRatio(speeds, ceilings))])
    } finally {
      await closeAll([entry])
    }
  }
  if (rows.length === 0) return []
  return [
    'The product of 1024³ on other engines, one thread, GFLOP/s:',
    table(['engine', 'SIMD', 'tile', 'ours', 'its ceiling', 'of the ceiling'], rows),
  ]
}

export async function run({ quick, note }) {
  const entries = await openRunners(candidates, note)
  try {
    const used = withThreads(entries, note)
    const rounds = quick ? 3 : 9
    const seconds = quick ? 0.08 : 0.25
    const rows = []
    for (const size of quick ? quickSizes : sizes) {
      const [m, k, n] = size
      for (const [index, { runner }] of used.entries()) await runner.call('prepare', m, k, n, outputFile(index))
      assertAgreement(
        `product ${size.join(' x ')}`,
        used.map(({ name }) => name),
        1e-5,
      )
      /** What registers alone allow, of each arithmetic. */
      const ceilings = new Map(['ours', 'ours, plain'].map((name) => [name, []]))
      const measured = await inTurn(used, rounds, async (runner, { name }) => {
        const flop = 2 * m * k * n
        if (!ceilings.has(name)) return flop / (await runner.call('time', seconds))
        const beside = await runner.call('timeBesideCeiling', seconds)
        ceilings.get(name).push(beside.flops)
        return flop / beside.seconds
      })
      const of = (name) => measured[used.findIndex((entry) => entry.name === name)]
      const figure = (name) => (of(name) ? significant(median(of(name)) / 1e9) : undefined)
      const ratio = (a, b) => (of(a) && of(b) ? times(medianRatio(of(a), of(b))) : undefined)
      const share = (name) => (of(name) ? percent(medianRatio(of(name), ceilings.get(name))) : undefined)
      rows.push([
        size.join(' × '),
        figure('ours'),
        share('ours'),
        figure('ours, plain'),
        share('ours, plain'),
        ...candidates.slice(2).map(({ name }) => figure(name)),
        ratio('ours', 'onnxruntime-web'),
        ratio('ours', 'tfjs-wasm'),
        ratio('ours, 256-bit', 'onnxruntime-node (native)'),
      ])
    }
    const tiles = used
      .filter(({ name, ours, threads }) => ours && threads === 1 && name)
      .map(({ name, info }) => `${info.kernels.tile} (${name})`)
    return [
      `GFLOP/s of y (m, n) = x (m, k) · b (k, n), float32, one thread unless stated otherwise; b is constant, so implementations that support it pack it once. Tiles, as autotuning chose them: ${tiles.join(', ')}; "plain" is baseline SIMD, "256-bit" \`createRuntime({ revectorize: true })\`. The ceiling is the same arithmetic in registers only, 128 bits wide, interleaved with the products in the same process.`,
      table(
        [
          'm × k × n',
          'ours',
          'of the ceiling',
          'ours, plain',
          'of the ceiling',
          ...candidates.slice(2).map(({ name }) => name),
          'ours / web',
          'ours / tfjs',
          '256-bit / native',
        ],
        rows,
      ),
      caption(packages),
      ...(await otherEngines(quick, note)),
    ].join('\n\n')
  } finally {
    await closeAll(entries)
  }
}
