/*
 * onnxruntime-web (WebAssembly) or onnxruntime-node (native), on the layer of bench/reference-models or on one product.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { openOnnxruntime } from '../lib/layer-forward.mjs'
import { matMulModel } from '../lib/onnx.mjs'
import { layerFile } from '../lib/paths.mjs'
import { layerInput, uniform } from '../lib/recipe.mjs'
import { serve } from '../lib/serve.mjs'
import { secondsEach } from '../lib/timing.mjs'

let prepareModel
let run

async function prepare(model, x, shape, file) {
  const prepared = await prepareModel(model, x, shape)
  run = prepared.run
  if (file) writeFileSync(file, prepared.output)
}

serve({
  async open({ kind, threads = 1 }) {
    const ort = kind === 'web' ? await import('onnxruntime-web') : (await import('onnxruntime-node')).default
    prepareModel = openOnnxruntime(ort, kind === 'web' ? 'wasm' : 'cpu', threads)
    return { threads }
  },
  prepare: (m, k, n, file) => prepare(matMulModel(m, k, n, uniform(k * n, 2)), uniform(m * k, 1), [m, k], file),
  prepareLayer: (n, file) => prepare(readFileSync(layerFile(n)), layerInput(n), [1, n, 256], file),
  time: (seconds) => secondsEach(run, seconds),
})
