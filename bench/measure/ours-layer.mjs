import { writeFileSync } from 'node:fs'
import { openCeiling } from '../lib/ceiling.mjs'
import { packageEntry } from '../lib/paths.mjs'
import { layerInput, layerOptions, layerParameters } from '../lib/recipe.mjs'
import { secondsEach, serve } from '../lib/serve.mjs'

const { createRuntime, MixtureOfAutoregressiveAttention, Tensor } = await import(packageEntry)

/** Forwards until the engine has compiled what they use. */
const WARM_UP = 2

let runtime
let layer
let ceiling
let run

serve({
  async open({ threads = 1, simd = 'auto', revectorize = false, ...options }) {
    runtime = await createRuntime({ threads, simd, revectorize })
    layer = new MixtureOfAutoregressiveAttention(runtime, { ...layerOptions, ...options })
    ceiling = openCeiling(runtime.info.simd, new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true }))
    layer.loadStateDict(new Map(layerParameters().map(([name, values, shape]) => [name, new Tensor(values, shape)])))
    return runtime.info
  },

  async prepareLayer(n, output) {
    const x = new Tensor(layerInput(n), [1, n, layerOptions.dim])
    run = () => layer.forward(x)
    const y = await run()
    if (output) writeFileSync(output, y.data)
    for (let i = 0; i < WARM_UP; i++) await run()
  },

  time: (seconds) => secondsEach(run, seconds),
  timeBesideCeiling: (seconds) => ceiling.beside(run, seconds),
  memory: () => runtime.info.memory,
})
