/* A model with random weights: how long its calls block the event loop, and how soon they react to an abort. */
import { packageEntry } from '../lib/paths.mjs'
import { randomModel } from '../lib/random-model.mjs'
import { serve } from '../lib/serve.mjs'

const { createRuntime, LanguageModel } = await import(packageEntry)

let runtime
let model
let leaveWork

const tokens = (length) => Int32Array.from({ length }, (_, i) => (i * 37) % 4096)

/** Duration of `work`, and the longest interval between two turns of the event loop meanwhile, in milliseconds. */
async function watch(work) {
  let longest = 0
  const start = performance.now()
  let last = start
  const turn = () => {
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
  }
  const timer = setInterval(turn, 1)
  await work()
  clearInterval(timer)
  turn()
  return { milliseconds: last - start, longest }
}

serve({
  async open({ threads, config }) {
    runtime = await createRuntime({ threads })
    const files = await randomModel(config)
    const { longest } = await watch(async () => (model = await LanguageModel.load(files, { runtime })))
    leaveWork = runtime.device.leaveWork
    return { ...runtime.info, numParameters: model.numParameters, loading: longest }
  },

  /** Reads a prompt of so many tokens. @param leaves whether the calling thread leaves its work on the way */
  async prefill(length, leaves) {
    runtime.device.leaveWork = leaves ? leaveWork : Infinity
    const session = model.createSession()
    const result = await watch(() => session.append(tokens(length)))
    session.dispose()
    runtime.device.leaveWork = leaveWork
    return result
  },

  /** Appends this many tokens one by one. */
  async decode(length) {
    const session = model.createSession()
    const result = await watch(async () => {
      for (const id of tokens(length)) await session.append([id])
    })
    session.dispose()
    return result
  },

  /** Milliseconds from an abort `delay` milliseconds into a prefill until the call rejects. */
  async abort(length, delay) {
    const session = model.createSession()
    const controller = new AbortController()
    let aborted
    setTimeout(() => {
      aborted = performance.now()
      controller.abort(new Error('enough'))
    }, delay)
    try {
      await session.append(tokens(length), { signal: controller.signal })
      throw new Error('the prefill was over before the abort')
    } catch (error) {
      if (error !== controller.signal.reason) throw error
      return performance.now() - aborted
    } finally {
      session.dispose()
    }
  },
})
