/* An edge worker of several clients: each request brings what to do, and sessions belong to a table of the isolate. */
import { LanguageModel } from 'routed-attention'
import { SessionTable } from 'routed-attention/server'

/** Milliseconds after which what a request left is collected. */
const LEASE = 60_000
/** By the clock of this test, which moves when it is told to: a machine that stalls ends no lease. */
let now = 0
const table = new SessionTable({ lease: LEASE, now: () => now })
/** @type {LanguageModel | undefined} */
let model
/** The sequences of each dispatch that has some. @type {number[]} */
let batches = []

/** @type {Record<string, (task: any) => Promise<object>>} */
const actions = {
  async load({ model: files }) {
    model = await LanguageModel.load(new URL(files))
    const { device } = /** @type {any} */ (model.runtime)
    const run = device.run.bind(device)
    device.run = (/** @type {any[]} */ ...args) => {
      if (args[1].sequences?.length > 0) batches.push(args[1].sequences.length)
      return run(...args)
    }
    return {}
  },

  /**
   * Reads a prompt and then `count` tokens, each the likeliest after the last; what came, and the bits of all logits.
   * @param task `leaveAt`: the token, or the prompt (-1), in the middle of which the request ends: its code never goes on
   */
  async decode({ id, prompt, count, leaveAt }) {
    table.add(id, /** @type {LanguageModel} */ (model).createSession())
    if (leaveAt === -1) return leave(session(id).append(prompt))
    let logits = await session(id).append(prompt)
    const [tokens, all] = [[], new Float32Array(count * logits.length)]
    for (let i = 0; i < count; i++) {
      const token = logits.indexOf(Math.max(...logits))
      if (leaveAt === i) return leave(session(id).append([token]))
      logits = await session(id).append([token])
      tokens.push(token)
      all.set(logits, i * logits.length)
    }
    const digest = new Uint32Array(await crypto.subtle.digest('SHA-256', all)).join()
    table.delete(id)
    return { tokens, digest }
  },

  async leaseEnds() {
    now += LEASE
    return {}
  },

  async status() {
    const sizes = batches
    batches = []
    return { sessions: table.size, used: /** @type {LanguageModel} */ (model).runtime.info.memory.used, batches: sizes }
  },
}

/** Ends the request while something is pending. @param {Promise<unknown>} pending */
function leave(pending) {
  pending.catch(() => undefined)
  return { left: true }
}

/** @param {string} id */
function session(id) {
  const found = table.use(id)
  if (!found) throw new Error(`the lease of ${id} has ended`)
  return found
}

export default {
  /** @param {Request} request */
  async fetch(request) {
    const task = /** @type {{ action: string }} */ (await request.json())
    try {
      return Response.json(await actions[task.action]?.(task))
    } catch (error) {
      return Response.json({ error: String(error) }, { status: 500 })
    }
  },
}
