import { writeDenseGguf } from '../dense/gguf.mjs'
import { writeOnnx } from '../dense/onnx.mjs'
import { numParameters } from '../dense/weights.mjs'
import { assertAgreement, outputFile } from '../lib/agreement.mjs'
import { runSweep, sweepTable, ONCE_FROM } from '../lib/sweep.mjs'
import { caption } from '../lib/machine.mjs'
import { built } from '../lib/paths.mjs'
import { inTurn } from '../lib/rounds.mjs'
import { closeAll, openRunners } from '../lib/runner.mjs'
import { count, mebibytes, median, medianRatio, percent, significant } from '../lib/statistics.mjs'

export const title = 'The language model'

const positions = [256, 512, 2048, 8192, 16384, 65536]
const quickPositions = [512, 1024]
const EARLY = 512
/** Its files hold a quarter of the bytes, its cache as many: beyond this it is as slow as float32. */
const QUANTISED_UP_TO = 16384
/** For each token all keys and values go into WebAssembly's memory and out again: beyond this a row takes minutes. */
const ONNX_UP_TO = 8192
/** Positions at which logits are compared, and how far they may differ: llama.cpp keeps its cache in float16. */
const COMPARED_AT = 640
const TOLERANCE = 5e-3
/** Where decoding is held against streaming, for this many tokens at a time: one window. */
const STREAMED_AT = 8192
const WINDOW = 128
/** Tokens that are read at once there. */
const TOGETHER = [1, 2, 4, 8, 16]

/**
 * Weights of models/novels-10m that a token reads on average. Token i of a window is an expert's query where fewer than
 * 32 before it are nearer: with probability 32 / (i + 1); keys and values are projected once a window.
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
  const sweep = quick ? quickPositions : positions
  const rounds = quick ? 3 : 9
  const tokens = quick ? 8 : 32
  const room = (last) => last + 2 * rounds * tokens + COMPARED_AT
  for (const format of ['f32', 'q8_0']) writeDenseGguf(built(`dense-${format}.gguf`), format)
  writeOnnx(built('dense.onnx'), room(ONNX_UP_TO))

  const ofOurs = (name, args) => ({ name, script: 'ours-model', args: { threads: 1, ...args }, ours: true, last: Infinity })
  const ofLlama = (name, format, last) => ({
    name,
    script: 'llama',
    args: { file: `dense-${format}.gguf`, positions: room(Math.min(sweep.at(-1), last)) },
    last,
  })
  const models = [
    ofOurs('ours', { weights: 'float32' }),
    ofOurs('ours, float16', {}),
    ofOurs('ours, 256-bit', { weights: 'float32', revectorize: true }),
    { ...ofLlama('llama.cpp', 'f32', Infinity), dense: true },
    ofLlama('llama.cpp, Q8_0', 'q8_0', QUANTISED_UP_TO),
    { name: 'onnxruntime-web', script: 'onnxruntime-model', args: { threads: 1 }, last: ONNX_UP_TO, dense: true },
  ]
  const entries = await openRunners(models, note)
  try {
    const [ours] = entries
    const agreement = await compareDense(entries, note)
    if (sweep.at(-1) > ONNX_UP_TO) note(`onnxruntime-web is not measured beyond position ${count(ONNX_UP_TO)}, where it takes too long`)
    const points = await runSweep(entries, sweep, { rounds, tokens })
    const rows = (what) =>
      sweepTable(points, what, models, [
        ['ours', 'llama.cpp'],
        ['ours', 'onnxruntime-web'],
      ])

    // the same process holds a session at each position: decoding far on against decoding early, in turn
    const late = sweep.at(-1)
    const far = []
    const near = []
    for (let round = 0; round < rounds; round++) {
      near.push(await ours.runner.call('decode', EARLY, tokens))
      far.push(await ours.runner.call('decode', late, tokens))
    }
    // tokens of whole windows, against the time to stream what they read of the weights, in turn
    const at = quick ? sweep.at(-1) : STREAMED_AT
    const shares = new Map()
    for (const { name, runner, ours: isOurs, args } of entries) {
      if (!isOurs || args.revectorize) continue
      const values = []
      for (let round = 0; round < rounds; round++) {
        const least = await runner.call('streamWeights', weightsRead(), args.weights ?? 'float16', 0.05)
        values.push(least / (await runner.call('decode', at, WINDOW)))
      }
      shares.set(name, percent(median(values)))
    }
    // the same tokens a window, more and more at once
    const together = await inTurn(
      TOGETHER.map((size) => ({ runner: ours.runner, size })),
      rounds,
      (runner, { size }) => runner.call('readOn', at, size, WINDOW),
    )
    const memory = []
    for (const { name, runner } of entries) memory.push(`${name} ${mebibytes(await runner.call('peakMemory'))}`)
    return [
      `Tokens a second, one thread. Ours is models/novels-10m (${count(ours.info.numParameters)} parameters); the baselines run **another model of the same size**: a dense llama transformer of ${count(numParameters())} random parameters (6 layers, dim 256, 4 heads of 64, SwiGLU 1376): llama.cpp natively, float32 and Q8_0; onnxruntime-web in WebAssembly, float32, each run's keys and values fed into the next${agreement}. Ours has float32 weights except in the columns marked float16, which is how the model is stored; "256-bit" is \`createRuntime({ revectorize: true })\`. Prefill runs from an empty state to the first token; decoding is greedy, after a context of that many tokens.${sweep.at(-1) >= ONCE_FROM ? ` Prompts from ${count(ONCE_FROM)} on were read once.` : ''}`,
      'Prefill:',
      rows('prefill'),
      'Decoding:',
      rows('decode'),
      `Decoding at position ${count(late)} takes ${significant(medianRatio(far, near), 3)} times as long per token as at ${EARLY}, alternating in one process. Streaming the weights that a token reads, ${significant(weightsRead() / 1e6)} million on average, through the one-row kernel is ${[...shares].map(([name, share]) => `${share} of its time (${name})`).join(', ')}, over whole windows after position ${count(at)}. Continuing there, ${TOGETHER.join(', ')} tokens at once take ${together.map((each) => significant(median(each) * 1e6)).join(', ')} µs a token (ours). Peak memory of the processes: ${memory.join(', ')}.`,
      caption(['node-llama-cpp', 'onnxruntime-web']),
    ].join('\n\n')
  } finally {
    await closeAll(entries)
  }
}

/** Checks that those that run the dense model do; says how far its logits differ, if there are two of them. */
async function compareDense(entries, note) {
  const same = entries.filter(({ dense }) => dense)
  if (same.length < 2) {
    note(`the dense model's logits were not compared: ${same.length === 1 ? `only ${same[0].name} runs it here` : 'nothing runs it here'}`)
    return ''
  }
  for (const [index, { runner }] of same.entries()) await runner.call('logits', COMPARED_AT, outputFile(index))
  const names = same.map(({ name }) => name)
  return ` (its logits agree with llama.cpp's to ${significant(assertAgreement('logits of the dense model', names, TOLERANCE), 2)})`
}
