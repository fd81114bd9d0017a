import { Wllama } from '../wllama/index.js'

let wllama

/**
 * It takes prompts as text only: capitals, which are tokens of one byte each in the vocabulary of lib/gguf.mjs.
 */
const text = (length) => Array.from({ length }, (_, i) => String.fromCharCode(65 + ((i * 7919) % 26))).join('')

/** The server inside wllama reports what it spent on the prompt and on new tokens. */
async function complete(position, count, cached) {
  const { timings } = await wllama.createCompletion({
    prompt: text(position),
    max_tokens: count,
    temperature: 0,
    cache_prompt: cached,
    ignore_eos: true,
  })
  return timings
}

export async function open({ file: name, positions, threads }) {
  wllama = new Wllama({ default: new URL('../wllama/wasm/wllama.wasm', import.meta.url).href }, { suppressNativeLog: true })
  const response = await fetch(new URL(`../built/${name}`, import.meta.url))
  if (!response.ok) throw new Error(`${name} was answered ${response.status}`)
  const file = await response.blob()
  // fastest of what it offers here: no flash attention, a float32 cache
  await wllama.loadModel([new File([file], name)], {
    n_ctx: positions,
    n_threads: threads,
    n_gpu_layers: 0,
    n_parallel: 1,
    flash_attn: false,
    cache_type_k: 'f32',
    cache_type_v: 'f32',
  })
  return { threads: wllama.getNumThreads() }
}

/** Seconds to the first token behind `position` others. */
export async function prefill(position) {
  const { prompt_ms: milliseconds, prompt_n: count } = await complete(position, 1, false)
  if (count !== position) throw new Error(`wllama read ${count} of ${position} tokens`)
  return milliseconds / 1000
}

/** Seconds a token behind `position`, whose cache it still has. */
export async function decode(position, count) {
  const { predicted_ms: milliseconds, predicted_n: done } = await complete(position, count + 1, true)
  // its clock starts when the first of them is there
  return milliseconds / 1000 / (done - 1)
}
