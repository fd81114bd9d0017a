import * as ort from '../onnxruntime/ort.wasm.min.mjs'
import { openOnnxruntime } from '../lib/layer-forward.mjs'
import { layerInput } from '../lib/recipe.mjs'
import { secondsEach } from '../lib/timing.mjs'

let prepareModel
let run

export async function open({ threads }) {
  prepareModel = openOnnxruntime(ort, 'wasm', threads)
  return { threads }
}

/** @returns the layer's output for n tokens */
export async function prepareLayer(n) {
  const response = await fetch(new URL(`../layers/layer_n${n}.onnx`, import.meta.url))
  if (!response.ok) throw new Error(`the layer's file was answered ${response.status}`)
  const prepared = await prepareModel(new Uint8Array(await response.arrayBuffer()), layerInput(n), [1, n, 256])
  run = prepared.run
  return prepared.output
}

export const time = (seconds) => secondsEach(run, seconds)
