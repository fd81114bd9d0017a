/*
 * onnxruntime-web (WebAssembly) or onnxruntime-node (native), on the layer of bench/reference-models or on one product.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { matMulModel } from '../lib/onnx.mjs'
import { layerFile } from '../lib/paths.mjs'
import { layerInput, uniform } from '../lib/recipe.mjs'
import { secondsEach, serve } from '../lib/serve.mjs'

/** Calls until the engine has compiled what they use. */
const WARM_UP = 2

let ort
let options
let run

async function open({ kind, threads = 1 }) {
  if (kind === 'web') {
    ort = await import('onnxruntime-web')
    ort.env.wasm.numThreads = threads
  } else ort = (await import('onnxruntime-node')).default
  options = { executionProviders: [kind === 'web' ? 'wasm' : 'cpu'], graphOptimizationLevel: 'all', intraOpNumThreads: threads }
  return { threads }
}

async function prepare(model, name, x, shape, output) {
  const session = await ort.InferenceSession.create(model, options)
  const feeds = { [name]: new ort.Tensor('float32', x, shape) }
  run = () => session.run(feeds)
  const result = Object.values(await run())[0]
  if (output) writeFileSync(output, result.data)
  for (let i = 0; i < WARM_UP; i++) await run()
}

serve({
  open,
  prepare: (m, k, n, output) => prepare(matMulModel(m, k, n, uniform(k * n, 2)), 'x', uniform(m * k, 1), [m, k], output),
  prepareLayer: (n, output) => prepare(readFileSync(layerFile(n)), 'x', layerInput(n), [1, n, 256], output),
  time: (seconds) => secondsEach(run, seconds),
})
