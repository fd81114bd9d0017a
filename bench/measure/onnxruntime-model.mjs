/* onnxruntime-web's WebAssembly provider with a cache: the dense model that dense/onnx.mjs writes. */
import { readFileSync, writeFileSync } from 'node:fs'
import * as ort from 'onnxruntime-web'
import { cacheNames } from '../dense/onnx.mjs'
import { dense, prompt } from '../dense/weights.mjs'
import { mostProbable } from '../lib/greedy.mjs'
import { built } from '../lib/paths.mjs'
import { serve } from '../lib/serve.mjs'

/** Tokens of a prompt that are read at once, as llama.cpp does: its scores are then megabytes, not gigabytes. */
const PIECE = 512

let session
/** Tensors by the names of the graph's inputs: each run's outputs are the next one's inputs. */
let cache
let position
let next

function clear() {
  const empty = new ort.Tensor('float32', new Float32Array(0), [1, dense.heads, 0, dense.dimHead])
  cache = Object.fromEntries(cacheNames.map(({ past }) => [past, empty]))
  position = 0
}

/** @returns logits of the last of these */
async function append(ids) {
  const row = (numbers) => new ort.Tensor('int64', BigInt64Array.from(numbers, BigInt), [1, numbers.length])
  const { logits, ...present } = await session.run({ ids: row(ids), positions: row(ids.map((_, i) => position + i)), ...cache })
  for (const { past, present: name } of cacheNames) cache[past] = present[name]
  position += ids.length
  return logits.data
}

async function read(ids) {
  let logits
  for (let start = 0; start < ids.length; start += PIECE) logits = await append(ids.slice(start, start + PIECE))
  return logits
}

async function prefill(length) {
  clear()
  const ids = prompt(length)
  const start = performance.now()
  next = mostProbable(await read(ids))
  return (performance.now() - start) / 1000
}

serve({
  async open({ threads = 1 }) {
    ort.env.wasm.numThreads = threads
    session = await ort.InferenceSession.create(readFileSync(built('dense.onnx')), {
      executionProviders: ['wasm'],
      graphOptimizationLevel: 'all',
    })
    return { threads }
  },

  prefill,
  firstToken: prefill,

  async decode(_, count) {
    const start = performance.now()
    for (let i = 0; i < count; i++) next = mostProbable(await append([next]))
    return (performance.now() - start) / 1000 / count
  },

  /** Writes the logits after a prompt whose last token is read on its own. */
  async logits(length, output) {
    clear()
    const ids = prompt(length)
    await read(ids.slice(0, -1))
    writeFileSync(output, await append(ids.slice(-1)))
  },
})
