import { numParameters, writeDenseModel } from '../gguf.mjs'
import { caption } from '../lib/machine.mjs'
import { built } from '../lib/paths.mjs'
import { closeAll, inTurn, openRivals } from '../lib/rival.mjs'
import { count, mebibytes, median, medianRatio, percent, significant, times } from '../lib/statistics.mjs'
import { table } from '../lib/tables.mjs'

export const title = 'The language model'

const positions = [256, 512, 2048, 8192, 16384, 65536]
const quickPositions = [512, 4096]
const EARLY = 512
/** Longer prompts are read once: reading them takes a dense transformer minutes. */
const ONCE_FROM = 8192
/** Its files hold a quarter of the bytes, its cache as many: beyond this it is as slow as float32. */
const QUANTISED_UP_TO = 16384
/** Where decoding is held against streaming, for this many tokens at a time: one window. */
const STREAMED_AT = 8192
const WINDOW = 128

/**
 * Weights of models/novels-10m that a token reads on average. Token i of a window is an expert's query where fewer than 32 before it are nearer: with
 * probability 32 / (i + 1); keys and values are projected once a window.
 */
function weightsRead() {
  let queries = 0
  for (let i = 0; i < WINDOW; i++) queries += Math.min(1, 32 / (i + 1))
  const [dim, depth, experts, vocabulary] = [256, 6, 2, 4096]
  const dense = 4 * dim * dim + 8 * dim * dim
  const routed = experts * ((queries / WINDOW) * 2 * dim * dim + (2 * dim * dim) / WINDOW)
  return depth * (dense + routed) + vocabulary * dim
}

export async function run({ quick, note }) {
  const ladder = quick ? quickPositions : positions
  const rounds = quick ? 3 : 9
  const tokens = quick ? 8 : 32
  const room = (last) => last + 2 * rounds * tokens + 512
  for (const format of ['f32', 'q8_0']) writeDenseModel(built(`dense-${format}.gguf`), format)

  const entries = await openRivals(
    [
      { name: 'ours', script: 'ours-model', args: { threads: 1, weights: 'float32' }, ours: true, last: Infinity },
      { name: 'ours, float16', script: 'ours-model', args: { threads: 1 }, ours: true, last: Infinity },
      {
        name: 'ours, 256-bit',
        script: 'ours-model',
        args: { threads: 1, weights: 'float32', revectorize: true },
        ours: true,
        last: Infinity,
      },
      { name: 'llama.cpp', script: 'llama', args: { format: 'f32', positions: room(ladder.at(-1)) }, last: Infinity },
      {
        name: 'llama.cpp, Q8_0',
        script: 'llama',
        args: { format: 'q8_0', positions: room(Math.min(ladder.at(-1), QUANTISED_UP_TO)) },
        last: QUANTISED_UP_TO,
      },
    ],
    note,
  )
  try {
    const [ours] = entries
    const names = ['ours', 'ours, float16', 'ours, 256-bit', 'llama.cpp', 'llama.cpp, Q8_0']
    const prefillRows = []
    const decodeRows = []
    for (const position of ladder) {
      const used = entries.filter(({ last }) => position <= last)
      const figures = (seconds, perCall) =>
        names.map((name) => {
          const index = used.findIndex((entry) => entry.name === name)
          return index < 0 ? undefined : significant(perCall / median(seconds[index]))
        })
      const prefill = await inTurn(used, position >= ONCE_FROM ? 1 : rounds, (rival) => rival.call('prefill', position))
      await inTurn(used, 1, (rival) => rival.call('decode', position, 4))
      const decode = await inTurn(used, rounds, (rival) => rival.call('decode', position, tokens))
      const llama = used.findIndex(({ name }) => name === 'llama.cpp')
      const ratio = (seconds) => (llama < 0 ? undefined : times(medianRatio(seconds[llama], seconds[0])))
      prefillRows.push([count(position), ...figures(prefill, position), ratio(prefill)])
      decodeRows.push([count(position), ...figures(decode, 1), ratio(decode)])
    }

    // the same process holds a session at each position: decoding far on against decoding early, in turn
    const late = ladder.at(-1)
    const far = []
    const near = []
    for (let round = 0; round < rounds; round++) {
      near.push(await ours.rival.call('decode', EARLY, tokens))
      far.push(await ours.rival.call('decode', late, tokens))
    }
    // tokens of whole windows, against the time to stream what they read of the weights, in turn
    const at = quick ? ladder.at(-1) : STREAMED_AT
    const shares = new Map()
    for (const { name, rival, ours: isOurs, args } of entries) {
      if (!isOurs || args.revectorize) continue
      const values = []
      for (let round = 0; round < rounds; round++) {
        const least = await rival.call('streamWeights', weightsRead(), args.weights ?? 'float16', 0.05)
        values.push(least / (await rival.call('decode', at, WINDOW)))
      }
      shares.set(name, percent(median(values)))
    }
    const memory = []
    for (const { name, rival } of entries) memory.push(`${name} ${mebibytes(await rival.call('peakMemory'))}`)
    return [
      `Tokens a second, one thread. Ours is models/novels-10m (${count(ours.info.numParameters)} parameters); llama.cpp runs **another model of the same size**: a dense llama transformer of ${count(numParameters())} random parameters (6 layers, dim 256, 4 heads of 64, SwiGLU 1376), native AVX, float32 and Q8_0. Ours has float32 weights where it does not say float16, as the model comes; "256-bit" is \`createRuntime({ revectorize: true })\`. Prefill is up to the first token, from an empty state; decoding is greedy, behind that many tokens.${ladder.at(-1) >= ONCE_FROM ? ` Prompts from ${count(ONCE_FROM)} on were read once.` : ''}`,
      'Prefill:',
      table(['position', ...names, 'ours / llama.cpp'], prefillRows),
      'Decoding:',
      table(['position', ...names, 'ours / llama.cpp'], decodeRows),
      `Decoding at position ${count(late)} takes ${significant(medianRatio(far, near), 3)} times as long a token as at ${EARLY}, in one process in turn. Streaming the weights that a token reads, ${significant(weightsRead() / 1e6)} million on average, through the one-row kernel is ${[...shares].map(([name, share]) => `${share} of its time (${name})`).join(', ')}, over whole windows behind position ${count(at)}. Peak memory of the processes: ${memory.join(', ')}.`,
      caption(['node-llama-cpp']),
    ].join('\n\n')
  } finally {
    await closeAll(entries)
  }
}
