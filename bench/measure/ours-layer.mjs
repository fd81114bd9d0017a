import { writeFileSync } from 'node:fs'
import { openCeiling } from '../lib/ceiling.mjs'
import { openOurs } from '../lib/layer-forward.mjs'
import { packageEntry } from '../lib/paths.mjs'
import { serve } from '../lib/serve.mjs'
import { secondsEach } from '../lib/timing.mjs'

const library = await import(packageEntry)

let runtime
let prepareForward
let ceiling
let run

serve({
  async open({ threads = 1, simd = 'auto', revectorize = false, ...options }) {
    runtime = await library.createRuntime({ threads, simd, revectorize })
    prepareForward = openOurs(library, runtime, options)
    ceiling = openCeiling(runtime.info.simd, new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true }))
    return runtime.info
  },

  async prepareLayer(n, file) {
    const prepared = await prepareForward(n)
    run = prepared.run
    if (file) writeFileSync(file, prepared.output)
  },

  time: (seconds) => secondsEach(run, seconds),
  timeBesideCeiling: (seconds) => ceiling.beside(run, seconds),
  memory: () => runtime.info.memory,
})
