/* llama.cpp, native, through node-llama-cpp: a model that lib/gguf.mjs wrote. */
import { rmSync, statSync, writeFileSync } from 'node:fs'
import { getLlama, LlamaLogLevel } from 'node-llama-cpp'
import { dense, prompt } from '../dense/weights.mjs'
import { built } from '../lib/paths.mjs'
import { serve } from '../lib/serve.mjs'

let sequence
let next

async function prefill(position) {
  await sequence.clearHistory()
  const ids = prompt(position)
  const start = performance.now()
  for await (const token of sequence.evaluate(ids, { temperature: 0 })) {
    next = token
    break
  }
  return (performance.now() - start) / 1000
}

serve({
  async open({ file, positions, threads = 1 }) {
    // prebuilt binaries are installed with it, so nothing is compiled or downloaded
    const llama = await getLlama({
      gpu: false,
      build: 'never',
      skipDownload: true,
      progressLogs: false,
      logLevel: LlamaLogLevel.error,
      maxThreads: threads,
    })
    const model = await llama.loadModel({ modelPath: built(file) })
    const context = await model.createContext({ contextSize: positions, batchSize: 512, threads })
    sequence = context.getSequence()
    return {
      threads: context.currentThreads,
      numParameters: model.fileInfo.tensorInfo?.reduce(
        (sum, { dimensions }) => sum + dimensions.reduce((size, length) => size * Number(length), 1),
        0,
      ),
    }
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

  /** Bytes of the state that a conversation needs to go on. */
  async savedBytes() {
    const file = built(`state-${process.pid}.bin`)
    await sequence.saveStateToFile(file)
    const { size } = statSync(file)
    rmSync(file)
    return size
  },

  /** Writes the logits after a prompt. */
  async logits(length, output) {
    await sequence.clearHistory()
    const ids = prompt(length)
    const results = await sequence.controlledEvaluate([...ids.slice(0, -1), [ids.at(-1), { generateNext: { logits: true } }]])
    const { logits } = results.at(-1).next
    writeFileSync(
      output,
      Float32Array.from({ length: dense.vocabulary }, (_, id) => logits.get(id)),
    )
  },
})
