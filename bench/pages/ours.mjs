import { createRuntime, LanguageModel } from '../dist/index.js'
import { mostProbable } from '../lib/greedy.mjs'

let runtime
let model
const sessions = new Map()

const text = (length) => Int32Array.from({ length }, (_, i) => 300 + ((i * 7919) % 3500))

/** @param model folder, beside this one */
export async function open({ threads, model: folder, quantize }) {
  runtime = await createRuntime({ threads })
  model = await LanguageModel.load(new URL(`../${folder}/`, import.meta.url), { runtime, quantize })
  return runtime.info
}

/** Seconds to the first token behind `position` others, in a new session, which stays open there. */
export async function prefill(position) {
  sessions.get(position)?.session.dispose()
  const ids = text(position)
  const start = performance.now()
  const session = model.createSession()
  const next = mostProbable(await session.append(ids))
  const seconds = (performance.now() - start) / 1000
  sessions.set(position, { session, next })
  return seconds
}

/** Seconds a token, continuing behind `position`. */
export async function decode(position, count) {
  const open = sessions.get(position)
  const start = performance.now()
  for (let i = 0; i < count; i++) open.next = mostProbable(await open.session.append([open.next]))
  return (performance.now() - start) / 1000 / count
}
