import { describe, expect, test } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import { LanguageModel } from '../../src/model/language-model.js'
import type { Session } from '../../src/model/session.js'
import { largestDifference } from '../support/compare.js'
import { moveOn } from '../support/forged-sessions.js'
import { afterRun, countRuns, outcomeOf } from '../support/interruptions.js'
import { openRuntime, releaseBuilds } from '../support/runtimes.js'
import { causalConfig, loadSmallModel, poisonMemory, randomTokens, smallModel, smallModelFiles } from '../support/small-models.js'

/**
 * A model whose null keys are 0: any other is not turned as positions grow, and its product with a query depends on
 * where that stands.
 */
function loadRelativeModel(runtime: Runtime): Promise<LanguageModel> {
  const made = smallModel(causalConfig)
  for (const [name, { data }] of made.parameters) if (name.endsWith('null_kv')) data.fill(0, 0, data.length / 2)
  return LanguageModel.load(smallModelFiles(made), { runtime })
}

describe.each(releaseBuilds)('on the %s build', (build) => {
  // Multiples of the routed window; the second is beyond what 32 bits count.
  test.each([7, 10_000_032, 5_000_000_024])('a session at position %d is as exact as at the beginning', async (positions) => {
    using runtime = openRuntime(build, 2)
    const model = await loadRelativeModel(runtime)
    const tokens = randomTokens(110, causalConfig.num_tokens)
    for (const length of [42, 45, 48]) {
      const near = model.createSession()
      await near.append(tokens.slice(0, length))
      // attention depends on differences of positions only
      const far = model.restoreSession(moveOn(near.save(), causalConfig, positions - (positions % 7)))
      expect(far.byteLength).toBe(near.byteLength)
      for (const size of [1, 1, 5, 30, 1, 24]) {
        const chunk = tokens.slice(near.position, near.position + size)
        expect(largestDifference(await far.append(chunk), await near.append(chunk))).toBeLessThan(2e-5)
      }
      expect(far.position - near.position).toBe(positions - (positions % 7))
      const moved = model.restoreSession(far.save())
      expect(await moved.append([1, 2])).toEqual(await far.append([1, 2]))
    }
  })
})

test('a session of thousands of tokens uses no more memory than at first, and still equals one forward, to the bit', async () => {
  using runtime = openRuntime('baseline', 2)
  const model = await loadSmallModel(runtime, causalConfig)
  const tokens = randomTokens(6000, causalConfig.num_tokens)
  const whole = await model.forward(tokens)
  const session = model.createSession()
  const { byteLength } = session
  const { used } = runtime.info.memory
  let logits = new Float32Array(0)
  while (session.position < tokens.length) {
    const size = session.position < 3000 ? 1 : 1 + (session.position % 300)
    logits = (await session.append(tokens.slice(session.position, session.position + size))) as Float32Array<ArrayBuffer>
    if (session.byteLength !== byteLength || runtime.info.memory.used !== used)
      expect.fail(`at position ${session.position} it holds ${session.byteLength} bytes`)
  }
  expect(logits).toEqual(whole.data.slice(-causalConfig.num_tokens))
  expect(session.save().length).toBeLessThan(10_000)
})

/** Windows wider than a text take no memory for tokens that are not there: such a session moves to larger buckets as it grows. */
const wideConfig = {
  ...causalConfig,
  dim: 4,
  depth: 1,
  heads: 1,
  dim_head: 4,
  local_attn_window_size: 1400,
  routed_window_size: 300,
  num_routed_queries: 2,
  num_routed_key_values: 3000,
} as const

describe('a model with windows wider than a thousand tokens', () => {
  const tokens = randomTokens(2200, wideConfig.num_tokens)
  const V = wideConfig.num_tokens

  async function setUp() {
    const runtime = openRuntime('baseline', 2)
    poisonMemory(runtime)
    const model = await loadSmallModel(runtime, wideConfig)
    const whole = await model.forward(tokens)
    // what the model itself works in, for short texts and long ones
    for (const length of [1000, 1500]) (await openedBy(model, length)).dispose()
    const logitsAt = (length: number) => whole.data.slice((length - 1) * V, length * V)
    return { runtime, model, logitsAt, [Symbol.dispose]: () => void runtime.dispose() }
  }

  async function openedBy(model: LanguageModel, length: number): Promise<Session> {
    const session = model.createSession()
    await session.append(tokens.slice(0, length))
    return session
  }

  test('gives the bits of one forward wherever its sessions grow, are saved, cloned and restored', async () => {
    using made = await setUp()
    const { model, logitsAt, runtime } = made
    const { used } = runtime.info.memory
    let session = model.createSession()
    for (const size of [1000, 23, 1, 1, 500, 520, 3, 1, 1, 150]) {
      const clone = session.clone()
      const chunk = tokens.slice(session.position, session.position + size)
      const expected = logitsAt(session.position + size)
      expect(await session.append(chunk)).toEqual(expected)
      expect(runtime.info.memory.used - used).toBe(session.byteLength + clone.byteLength)
      const restored = model.restoreSession(clone.save())
      expect(await restored.append(chunk)).toEqual(expected)
      expect(await clone.append(chunk)).toEqual(expected)
      expect(Buffer.from(restored.save()).equals(session.save())).toBe(true)
      session.dispose()
      clone.dispose()
      session = restored
      expect(runtime.info.memory.used - used).toBe(session.byteLength)
    }
    expect(session.position).toBe(2200)
    session.dispose()
    expect(runtime.info.memory.used).toBe(used)
  })

  test('leaves a session unchanged when an append that would make it grow is aborted, or is still pending', async () => {
    using made = await setUp()
    const { model, runtime, logitsAt } = made
    const { used } = runtime.info.memory
    for (const [length, more] of [
      [1020, 10],
      [1000, 300],
      [2040, 20],
    ] as const) {
      const session = await openedBy(model, length)
      const saved = Buffer.from(session.save())
      const { byteLength } = session
      const rest = tokens.slice(length, length + more)
      const probe = session.clone()
      const runs = await countRuns(runtime, () => probe.append(rest))
      probe.dispose()
      for (let nth = 1; nth <= runs; nth++) {
        const controller = new AbortController()
        const undo = afterRun(runtime, nth, () => {
          expect(session.byteLength).toBe(byteLength)
          expect(saved.equals(session.save())).toBe(true)
          controller.abort('enough')
        })
        expect(await outcomeOf(session.append(rest, { signal: controller.signal }))).toEqual({ reason: 'enough' })
        undo()
        expect(saved.equals(session.save())).toBe(true)
        expect(runtime.info.memory.used - used).toBe(byteLength)
      }
      expect(await session.append(rest)).toEqual(logitsAt(length + more))
      session.dispose()
    }
  })
})
