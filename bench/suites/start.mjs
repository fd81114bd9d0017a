import { readdirSync, readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { writeDenseGguf } from '../dense/gguf.mjs'
import { writeOnnx } from '../dense/onnx.mjs'
import { caption } from '../lib/machine.mjs'
import { bench, built, root } from '../lib/paths.mjs'
import { Runner } from '../lib/runner.mjs'
import { mebibytes, median, significant } from '../lib/statistics.mjs'
import { table } from '../lib/tables.mjs'

export const title = 'Start, memory and size'

const PROMPT = 64
const LENGTH = 1024

/** What a fresh process does: open, then one piece of work. */
const starts = [
  { what: 'Node alone', script: 'nothing', args: {}, work: ['nothing'] },
  { what: 'layer: ours', script: 'ours-layer', args: {}, work: ['prepareLayer', LENGTH], ours: true },
  { what: 'layer: onnxruntime-web', script: 'onnxruntime', args: { kind: 'web' }, work: ['prepareLayer', LENGTH] },
  { what: 'layer: onnxruntime-node (native)', script: 'onnxruntime', args: { kind: 'node' }, work: ['prepareLayer', LENGTH] },
  { what: 'model: ours', script: 'ours-model', args: {}, work: ['firstToken', PROMPT], ours: true },
  { what: 'model: llama.cpp (native)', script: 'llama', args: { file: 'dense-f32.gguf', positions: 4096 }, work: ['firstToken', PROMPT] },
  {
    what: 'model: llama.cpp (native), Q8_0',
    script: 'llama',
    args: { file: 'dense-q8_0.gguf', positions: 4096 },
    work: ['firstToken', PROMPT],
  },
  { what: 'model: onnxruntime-web', script: 'onnxruntime-model', args: {}, work: ['firstToken', PROMPT] },
]

/** What a page downloads to run anything, without weights. */
const downloads = [
  ['routed-attention, its part for GPUs included', oursFiles],
  [
    'onnxruntime-web',
    () => installed('onnxruntime-web/dist', 'ort.wasm.min.mjs', 'ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm'),
  ],
  [
    'tfjs, wasm backend',
    () => [
      ...installed('@tensorflow/tfjs-core/dist', 'tf-core.min.js'),
      ...installed('@tensorflow/tfjs-backend-wasm/dist', 'tf-backend-wasm.min.js', 'tfjs-backend-wasm-simd.wasm'),
    ],
  ],
  ['wllama', () => installed('@wllama/wllama', ...wllamaFiles())],
]

export async function run({ quick, note }) {
  for (const format of ['f32', 'q8_0']) writeDenseGguf(built(`dense-${format}.gguf`), format)
  writeOnnx(built('dense.onnx'), 4096)
  const samples = starts.map(() => [])
  for (let round = 0; round < (quick ? 1 : 7); round++) {
    for (const [index, { what, script, args, work, ours }] of starts.entries()) {
      const runner = new Runner(what, script)
      try {
        await runner.call('open', args)
        const opened = await runner.call('clock')
        await runner.call(...work)
        samples[index].push({ opened, done: await runner.call('clock'), memory: await runner.call('peakMemory') })
      } catch (error) {
        if (ours) throw error
        note(`${what} is left out: ${error.message.split('\n')[0]}`)
      } finally {
        await runner.close()
      }
    }
  }
  const milliseconds = (values, key) => significant(median(values.map((sample) => sample[key])) * 1000)
  const rows = starts.map(({ what }, index) => {
    const values = samples[index]
    if (values.length === 0) return [what, undefined, undefined, undefined]
    return [what, milliseconds(values, 'opened'), milliseconds(values, 'done'), mebibytes(median(values.map(({ memory }) => memory)))]
  })
  return [
    `Fresh processes, one thread, files in the disk's cache. Milliseconds from the start of the process until it was ready to be called, and until the first result (layer: one forward of n = ${LENGTH}; model: the token after a prompt of ${PROMPT}). Peak resident memory of the process, Node included.`,
    table(['', 'ready, ms', 'first result, ms', 'peak memory'], rows),
    'On the wire, scripts and WebAssembly gzipped file by file, without weights:',
    table(
      ['', 'kB'],
      downloads.flatMap(([name, files]) => sizeOf(name, files, note)),
    ),
    caption(['onnxruntime-web', 'onnxruntime-node', 'node-llama-cpp', '@tensorflow/tfjs-backend-wasm', '@wllama/wllama']),
  ].join('\n\n')
}

function sizeOf(name, files, note) {
  try {
    return [[name, significant(files().reduce((sum, file) => sum + gzipSync(readFileSync(file), { level: 9 }).length, 0) / 1000)]]
  } catch (error) {
    note(`${name} is left out of the sizes: ${error.message}`)
    return []
  }
}

const installed = (folder, ...names) => names.map((name) => `${bench}/node_modules/${folder}/${name}`)

/** dist/index.js and all that it may come to load. */
function oursFiles() {
  const files = new Set()
  const visit = (file) => {
    if (files.has(file)) return
    files.add(file)
    for (const [, target] of readFileSync(file, 'utf8').matchAll(/(?:from|import\(?)\s*["'](\.[^"']+\.js)["']/g)) {
      visit(new URL(target, `file://${file}`).pathname)
    }
  }
  visit(`${root}dist/index.js`)
  return [...files]
}

function wllamaFiles() {
  const folder = `${bench}/node_modules/@wllama/wllama`
  const wasm = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith('.wasm'))
  return ['esm/index.min.js', wasm[0]]
}
