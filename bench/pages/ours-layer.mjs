import * as library from '../dist/index.js'
import { openOurs } from '../lib/layer-forward.mjs'
import { secondsEach } from '../lib/timing.mjs'

let prepareForward
let run

export async function open({ threads }) {
  const runtime = await library.createRuntime({ threads })
  prepareForward = openOurs(library, runtime)
  return runtime.info
}

/** @returns the layer's output for n tokens */
export async function prepareLayer(n) {
  const prepared = await prepareForward(n)
  run = prepared.run
  return prepared.output
}

export const time = (seconds) => secondsEach(run, seconds)
