import { assertAgreement, outputFile } from '../lib/agreement.mjs'
import { caption } from '../lib/machine.mjs'
import { layerFlop } from '../lib/recipe.mjs'
import { inTurn } from '../lib/rounds.mjs'
import { closeAll, openRunners, withThreads } from '../lib/runner.mjs'
import { count, mebibytes, median, medianRatio, percent, significant, times } from '../lib/statistics.mjs'
import { table } from '../lib/tables.mjs'

export const title = 'The layer'

const all = [1, 2].flatMap((threads) => [
  { name: 'ours', script: 'ours-layer', args: { threads }, ours: true, threads },
  { name: 'ours, 256-bit', script: 'ours-layer', args: { threads, revectorize: true }, ours: true, threads },
  { name: 'ours, top-k', script: 'ours-layer', args: { threads, selection: 'top-k' }, ours: true, threads },
  { name: 'onnxruntime-web', script: 'onnxruntime', args: { kind: 'web', threads }, threads },
  { name: 'onnxruntime-node (native)', script: 'onnxruntime', args: { kind: 'node', threads }, threads },
])

export async function run({ quick, note }) {
  const candidates = quick ? all.filter(({ args }) => args.selection === undefined && !args.revectorize) : all
  const tables = []
  const differences = []
  // new processes for each length, so that peak memory is this length's; quickly, the same ones
  for (const lengths of quick ? [[1024, 4096]] : [[1024], [4096]]) {
    const entries = await openRunners(candidates, note)
    try {
      const used = withThreads(entries, note)
      for (const n of lengths) {
        const { difference, rows } = await measure(n, used, candidates, quick)
        differences.push(difference)
        tables.push(
          `n = ${n}`,
          table(['', 'threads', 'ms', 'µs a token', 'of the ceiling', 'its time / ours', 'one thread / two', 'peak memory'], rows),
        )
      }
    } finally {
      await closeAll(entries)
    }
  }
  return [
    `One forward of (1, n, 256): 4 heads of 64, windows of 128, 32 routed queries, 128 routed key/values, 2 experts. The baselines run the published PyTorch layer as ONNX with the same numbers; outputs agree to ${significant(Math.max(...differences), 2)}. "Of the ceiling" relates the least arithmetic the layer needs to multiply-adds in registers, 128 bits wide, interleaved with the forward passes. "256-bit" is \`createRuntime({ revectorize: true })\`. Peak memory is that of the process, Node included.`,
    ...tables,
    await measureSideBySide(quick, note),
    ...(await measurePrompts(quick, note)),
    caption(['onnxruntime-web', 'onnxruntime-node']),
  ].join('\n\n')
}

/** Whether the ceiling of one thread's 128 bits is its ceiling. */
const hasShare = ({ name, ours, threads }) => ours && threads === 1 && name !== 'ours, 256-bit'

async function measure(n, used, candidates, quick) {
  for (const [index, { runner }] of used.entries()) await runner.call('prepareLayer', n, outputFile(index))
  const difference = assertAgreement(
    `layer, n = ${n}`,
    used.map(({ name, threads }) => `${name} on ${threads}`),
    1e-4,
  )
  const shares = used.map(() => [])
  const seconds = await inTurn(used, quick ? 3 : 11, async (runner, entry) => {
    const long = quick ? 0 : 0.5
    if (!hasShare(entry)) return runner.call('time', long)
    const { seconds, flops } = await runner.call('timeBesideCeiling', long)
    shares[used.indexOf(entry)].push(layerFlop[n] / (seconds * flops))
    return seconds
  })
  const memory = []
  for (const { runner } of used) memory.push(await runner.call('peakMemory'))
  const rows = candidates.map((row) => {
    const { name, threads, ours } = row
    const find = (wanted, on = threads) => used.findIndex((entry) => entry.name === wanted && entry.threads === on)
    const index = find(name)
    if (index < 0) return [name, threads, ...new Array(6).fill(undefined)]
    const mine = find('ours')
    return [
      name,
      threads,
      significant(median(seconds[index]) * 1000),
      significant((median(seconds[index]) * 1e6) / n),
      hasShare(row) ? percent(median(shares[index])) : undefined,
      ours || mine < 0 ? undefined : times(medianRatio(seconds[index], seconds[mine])),
      ours && threads > 1 && find(name, 1) >= 0 ? times(medianRatio(seconds[find(name, 1)], seconds[index])) : undefined,
      mebibytes(memory[index]),
    ]
  })
  return { difference, rows }
}

/**
 * What two cores give work that never waits for the other's: two processes of one thread each, which share the
 * machine's caches and memory, but no weights.
 */
async function measureSideBySide(quick, note) {
  const one = { name: 'ours', script: 'ours-layer', args: { threads: 1 }, ours: true }
  const entries = await openRunners([one, one], note)
  try {
    const n = 4096
    for (const { runner } of entries) await runner.call('prepareLayer', n)
    const long = quick ? 0.3 : 0.5
    const gains = []
    for (let round = 0; round < (quick ? 3 : 11); round++) {
      const alone = await entries[0].runner.call('time', long)
      const together = await Promise.all(entries.map(({ runner }) => runner.call('time', long)))
      gains.push(alone / together[0] + alone / together[1])
    }
    return `Two processes of one thread each, side by side at n = ${count(n)}, do ${times(median(gains))} the work of one alone, which is about what two threads can reach here.`
  } finally {
    await closeAll(entries)
  }
}

/** What two threads make of a model's prompts, in which a chunk goes through all layers. */
async function measurePrompts(quick, note) {
  const models = [1, 2].map((threads) => ({
    name: 'ours',
    script: 'ours-model',
    args: { threads, weights: 'float32' },
    ours: true,
    threads,
  }))
  const entries = await openRunners(models, note)
  try {
    const used = withThreads(entries, note)
    if (used.length < models.length) return []
    await inTurn(used, 2, (runner) => runner.call('prefill', 512))
    const rows = []
    for (const length of quick ? [512] : [512, 2048, 8192]) {
      const seconds = await inTurn(used, quick ? 3 : 9, (runner) => runner.call('prefill', length))
      rows.push([count(length), ...seconds.map((each) => significant(length / median(each))), times(medianRatio(seconds[0], seconds[1]))])
    }
    return [
      'The language model below, reading a prompt of that many tokens up to the first logits, in tokens a second:',
      table(['prompt', 'one thread', 'two threads', 'one thread / two'], rows),
    ]
  } finally {
    await closeAll(entries)
  }
}
