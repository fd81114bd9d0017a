/* What a process holds while it loads a model. */
import { readFileSync } from 'node:fs'
import { packageEntry } from '../lib/paths.mjs'
import { serve } from '../lib/serve.mjs'

const { createRuntime, LanguageModel } = await import(packageEntry)

const status = () => readFileSync('/proc/self/status', 'utf8')
const resident = (field) => Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status())[1]) * 1024

let runtime

serve({
  /** @returns resident memory of a process that has a runtime, and nothing else */
  async open() {
    runtime = await createRuntime({ threads: 1 })
    return resident('VmRSS')
  },

  /** Loads a model; resident memory afterwards, and the most until then. */
  async load({ folder, url, cache }) {
    let model
    const result = await observed(async () => {
      model = await LanguageModel.load(url ? new URL(url) : folder, { runtime, cache: cache ?? false })
    })
    return { ...result, packed: runtime.info.memory.used, numParameters: model.numParameters }
  },

  /** The same for a file that is downloaded, and let go of piece by piece. */
  fetch: (url) =>
    observed(async () => {
      const reader = (await fetch(url)).body.getReader()
      while (!(await reader.read()).done);
    }),
})

async function observed(work) {
  const start = performance.now()
  await work()
  const seconds = (performance.now() - start) / 1000
  const peak = resident('VmHWM')
  gc()
  await new Promise((resolve) => setTimeout(resolve, 100))
  gc()
  return { seconds, peak, after: resident('VmRSS') }
}
