/* llama.cpp, native, through node-llama-cpp: the dense model that gguf.mjs writes. */
import { getLlama, LlamaLogLevel } from 'node-llama-cpp'
import { built } from '../lib/paths.mjs'
import { serve } from '../lib/serve.mjs'

let sequence
let next

const text = (length) => Array.from({ length }, (_, i) => 300 + ((i * 7919) % 3500))

async function prefill(position) {
  await sequence.clearHistory()
  const ids = text(position)
  const start = performance.now()
  for await (const token of sequence.evaluate(ids, { temperature: 0 })) {
    next = token
    break
  }
  return (performance.now() - start) / 1000
}

serve({
  async open({ format, positions, threads = 1 }) {
    // its builds are installed with it: nothing is compiled or fetched
    const llama = await getLlama({
      gpu: false,
      build: 'never',
      skipDownload: true,
      progressLogs: false,
      logLevel: LlamaLogLevel.error,
      maxThreads: threads,
    })
    const model = await llama.loadModel({ modelPath: built(`dense-${format}.gguf`) })
    const context = await model.createContext({ contextSize: positions, batchSize: 512, threads })
    sequence = context.getSequence()
    return { threads: context.currentThreads }
  },

  prefill,
  firstToken: prefill,

  async decode(_, count) {
    const start = performance.now()
    let done = 0
    for await (const token of sequence.evaluate([next], { temperature: 0, yieldEogToken: true })) {
      next = token
      if (++done === count) break
    }
    return (performance.now() - start) / 1000 / done
  },
})
