/* What requests of edge workers leave behind when they go without a word. */
import { expect, test } from 'vitest'
import { PrefixCache } from '../../src/model/prefix-cache.js'
import { SessionBudget } from '../../src/server/edge/session-budget.js'
import { SharedLoad } from '../../src/server/edge/shared-load.js'
import { outcomeOf } from '../support/interruptions.js'
import { leaveOften } from '../support/leaving.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, loadSmallModel } from '../support/small-models.js'

const never = () => new Promise<never>(() => {})

test('one request loads for all that come meanwhile', async () => {
  let loads = 0
  const load = new SharedLoad(async () => {
    loads++
    await new Promise((resolve) => setTimeout(resolve, 30))
    return {}
  })
  const all = await Promise.all([1, 2, 3, 4].map(() => load.get()))
  expect([loads, new Set(all).size, load.value]).toEqual([1, 1, all[0]])
})

test('a load that fails does so for all that wait, and is tried again by the next', async () => {
  let loads = 0
  const load = new SharedLoad(async () => {
    await new Promise((resolve) => setTimeout(resolve, 30))
    if (++loads === 1) throw new Error('no such bucket')
    return 'model'
  })
  const outcomes = await Promise.allSettled([1, 2, 3].map(() => load.get()))
  expect(outcomes.map((outcome) => outcome.status)).toEqual(['rejected', 'rejected', 'rejected'])
  expect(await load.get()).toBe('model')
  expect(loads).toBe(2)
})

test('a load whose request has gone is taken over; one that makes progress is not', async () => {
  let time = 0
  let progress = () => {}
  let loads = 0
  const load = new SharedLoad(
    (onProgress) => {
      progress = onProgress
      return ++loads === 1 ? never() : Promise.resolve('model')
    },
    () => time,
  )
  void load.get()
  time = 9000
  progress()
  const waiting = load.get()
  time = 18_000
  await new Promise((resolve) => setTimeout(resolve, 30))
  expect(loads).toBe(1)
  time = 20_000
  expect(await waiting).toBe('model')
  expect(loads).toBe(2)
})

test('the place of a request that has gone is given to others, with its sessions', async () => {
  using runtime = openRuntime('baseline')
  runtime.isolateCallers()
  const model = await loadSmallModel(runtime, causalConfig)
  let time = 0
  const { used } = runtime.info.memory
  const session = model.createSession()
  const budget = new SessionBudget(model, {
    maxMemory: runtime.info.memory.used + 2 * session.byteLength,
    maxWait: 50,
    now: () => time,
  })
  session.dispose()
  const begin = runtime.info.memory.used
  const gone = new AbortController()
  const by = { signal: new AbortController().signal, abort: () => {} }
  const place = await budget.admit(1, { signal: gone.signal, abort: (reason) => gone.abort(reason) })
  const held = model.createSession()
  place.hold(held)
  const appended = outcomeOf(held.append(Array.from({ length: 600 }, (_, index) => index % 7)))
  const clock = setInterval(() => (time += 20), 5)
  await expect(budget.admit(1, by)).rejects.toMatchObject({ status: 503 })
  clearInterval(clock)
  time += 20_000
  place.touch()
  time += 20_000
  expect(budget.running).toBe(1)
  time += 10_001
  const next = await budget.admit(1, by)
  expect([budget.running, gone.signal.aborted, held.byteLength, runtime.info.memory.used]).toEqual([1, true, 0, begin])
  place.release()
  next.release()
  expect([budget.running, runtime.info.memory.used >= used]).toEqual([0, true])
  await appended
})

test('requests that wait are served in their order, past those that have gone', async () => {
  using runtime = openRuntime('baseline')
  const model = await loadSmallModel(runtime, causalConfig)
  const sample = model.createSession()
  const { byteLength } = sample
  const maxMemory = runtime.info.memory.used + 2 * byteLength
  sample.dispose()
  const budget = new SessionBudget(model, { maxMemory, maxWait: 10_000, now: () => 0 })
  const by = { signal: new AbortController().signal, abort: () => {} }
  const first = await budget.admit(1, by)
  const served: number[] = []
  const waiting = [1, 2, 3].map(async (number) => {
    const place = await budget.admit(1, by)
    served.push(number)
    await new Promise((resolve) => setTimeout(resolve, 10))
    place.release()
  })
  expect(budget.queued).toBe(3)
  first.release()
  await Promise.all(waiting)
  expect([served, budget.queued, budget.running]).toEqual([[1, 2, 3], 0, 0])
})

test('a session between turns is given only to whoever has read the same', async () => {
  using runtime = openRuntime('baseline')
  const model = await loadSmallModel(runtime, causalConfig)
  const budget = new SessionBudget(model, { maxMemory: 1e9, maxWait: 0 })
  const sessions = [model.createSession(), model.createSession(), model.createSession()] as const
  budget.keep('a', { session: sessions[0], tokens: [1, 2], snapshotAt: 0 })
  budget.keep('a', { session: sessions[1], tokens: [1, 3], snapshotAt: 0 })
  expect(sessions[0].byteLength).toBe(0)
  expect(budget.take('a', [1, 2])).toBeUndefined()
  expect(sessions[1].byteLength).toBe(0)
  budget.keep('a', { session: sessions[2], tokens: [1, 2], snapshotAt: 0 })
  expect(budget.take('b', [1, 2])).toBeUndefined()
  expect(budget.take('a', [1, 2])!.session).toBe(sessions[2])
  expect(budget.idle).toBe(0)
})

test('a prompt that its request has left in the middle leaves no memory', async () => {
  using runtime = openRuntime('baseline')
  runtime.isolateCallers()
  leaveOften(runtime)
  const model = await loadSmallModel(runtime, causalConfig)
  model.createSession().dispose()
  const { used } = runtime.info.memory
  const prefixes = new PrefixCache(model, { maxBytes: 0 })
  const leaving = new AbortController()
  const reading = prefixes.read(
    Array.from({ length: 3000 }, (_, index) => index % 7),
    { signal: leaving.signal, share: false },
  )
  await new Promise((resolve) => setImmediate(resolve))
  expect(runtime.info.memory.used).toBeGreaterThan(used)
  leaving.abort(new Error('left'))
  expect(runtime.info.memory.used).toBe(used)
  await expect(reading).rejects.toThrow('left')
})
