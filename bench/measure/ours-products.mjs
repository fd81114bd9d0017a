/* One product of the package; and what the processor can do at most, in the same process. */
import { writeFileSync } from 'node:fs'
import { openCeiling } from '../lib/ceiling.mjs'
import { built } from '../lib/paths.mjs'
import { serve } from '../lib/serve.mjs'
import { secondsEach } from '../lib/timing.mjs'

const { createRuntime, prepareProduct } = await import(built('internals.mjs'))

let runtime
let ceiling
/** The products that were prepared, the last by each weight format; and the one that is timed. */
const prepared = new Map()
let current

serve({
  async open({ threads = 1, simd = 'auto', revectorize = false }) {
    runtime = await createRuntime({ threads, simd, revectorize })
    ceiling = openCeiling(runtime.info.simd, runtime.device.arena.memory)
    return runtime.info
  },

  /** Prepares a product of these sizes and computes it once. */
  async prepare(m, k, n, output, format = 0) {
    current = prepareProduct(runtime, m, k, n, format)
    prepared.set(format, current)
    await current.run()
    if (output) writeFileSync(output, current.read())
  },

  /** Goes back to what was prepared last with this format. */
  choose: (format) => void (current = prepared.get(format)),

  time: (seconds) => secondsEach(current.run, seconds),
  timeBesideCeiling: (seconds) => ceiling.beside(current.run, seconds),
  sum: (byteLength, seconds) => secondsEach(() => void ceiling.sum(current.address, byteLength), seconds),
})
