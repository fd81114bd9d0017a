/* llama.cpp, native, through node-llama-cpp: a model that lib/gguf.mjs wrote. */
import { rmSync, statSync, writeFileSync } from 'node:fs'
import { getLlama, LlamaLogLevel } from 'node-llama-cpp'
import { dense, prompt } from '../dense/weights.mjs'
import { built } from '../lib/paths.mjs'
import { serve } from '../lib/serve.mjs'

let model
let threads
let sequence
let next
/** Sequences of one context that decode at the same time, and their next tokens. */
let together = []
let shared

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
  async open({ file, positions, threads: wanted = 1 }) {
    threads = wanted
    // prebuilt binaries are installed with it, so nothing is compiled or downloaded
    const llama = await getLlama({
      gpu: false,
      build: 'never',
      skipDownload: true,
      progressLogs: false,
      logLevel: LlamaLogLevel.error,
      maxThreads: threads,
    })
    model = await llama.loadModel({ modelPath: built(file) })
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

  /** Opens `count` sequences, each behind `position` tokens of its own, with room for 512 more; instead of those before. */
  async openTogether(count, position) {
    await shared?.dispose()
    shared = await model.createContext({ contextSize: position + 512, sequences: count, batchSize: 512, threads })
    together = Array.from({ length: count }, () => ({ sequence: shared.getSequence() }))
    const read = async (open, index) => {
      const ids = prompt(position).map((id, i) => (id + 31 * index + i) % 4096)
      for await (const token of open.sequence.evaluate(ids, { temperature: 0 })) {
        open.next = token
        break
      }
    }
    await Promise.all(together.map(read))
  },

  /** Seconds in which each of the first `count` of them decodes `tokens` tokens, all at once. */
  async decodeTogether(count, tokens) {
    const decode = async (open) => {
      let done = 0
      for await (const token of open.sequence.evaluate([open.next], { temperature: 0, yieldEogToken: true })) {
        open.next = token
        if (++done === tokens) break
      }
    }
    const start = performance.now()
    await Promise.all(together.slice(0, count).map(decode))
    return (performance.now() - start) / 1000
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
