/** On threads an abort has them walk what they were handed to its end without computing it. */
import { getEventListeners } from 'node:events'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DispatchHeader } from '../../assembly/ir/header.js'
import { createRuntime } from '../../src/device/create-runtime.js'
import type { Runtime } from '../../src/device/runtime.js'
import { MixtureOfAutoregressiveAttention } from '../../src/model/layer.js'
import { Tensor } from '../../src/tensor.js'
import { openDriftingRuntime } from '../support/drifting-pool.js'
import { expectSameBits } from '../support/bits.js'
import { eventually } from '../support/eventually.js'
import { outcomeOf } from '../support/interruptions.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, loadSmallModel, poisonMemory, publishedConfig, randomTokens } from '../support/small-models.js'
import { runs } from '../support/seed.js'

const tokens = randomTokens(200, causalConfig.num_tokens)
const kinds = [
  ['strictly causal', causalConfig],
  ['published', publishedConfig],
] as const
const plain = openRuntime('checked-relaxed')

/** What a session answers that has read the first 60 tokens and reads the others, on one thread. */
async function expectedAnswer(where: Runtime, config: Record<string, unknown>): Promise<Float32Array> {
  const model = await loadSmallModel(where, config)
  const answer = (await model.forward(tokens)).data.slice(-causalConfig.num_tokens)
  model.dispose()
  return answer
}

const drifting = ([2, 3, 4] as const).flatMap((threads) =>
  (['the first group', 'the last group'] as const).map((favourite) => openDriftingRuntime(threads, favourite)),
)

test.each(kinds)('a session of a %s model is unchanged, wherever the threads are when an append is aborted', async (_kind, config) => {
  const expected = await expectedAnswer(plain, config)
  let stopped = 0
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...drifting), fc.integer({ min: 1, max: 2000 }), async ({ runtime, pool }, place) => {
      poisonMemory(runtime)
      const model = await loadSmallModel(runtime, config)
      const session = model.createSession()
      await session.append(tokens.slice(0, 60))
      await session.clone().append(tokens.slice(60))
      const [saved, { used }] = [session.save(), runtime.info.memory]
      const controller = new AbortController()
      let partitions = 0
      pool.beforePartition = () => void (++partitions === place && controller.abort('enough'))
      const outcome = await outcomeOf(session.append(tokens.slice(60), { signal: controller.signal }))
      pool.beforePartition = () => undefined
      if (controller.signal.aborted) {
        stopped++
        expect(outcome).toEqual({ reason: 'enough' })
        expect(session.save()).toEqual(saved)
        expect(runtime.info.memory.used).toBe(used)
        expect(await session.append(tokens.slice(60))).toEqual(expected)
      } else expect(outcome).toEqual({ value: expected })
      model.dispose()
    }),
    runs(120),
  )
  expect(stopped).toBeGreaterThan(20)
})

test('a layer that is aborted on threads computes correctly the next time, and releases what it allocated', async () => {
  const x = Tensor.randn([2, 900, 12], 1)
  for (const causal of [false, true]) {
    const options = {
      dim: 12,
      heads: 2,
      dimHead: 6,
      numRoutedQueries: 20,
      numRoutedKeyValues: 30,
      localAttnWindowSize: 32,
      selection: 'top-k',
      causal,
    } as const
    const expected = await new MixtureOfAutoregressiveAttention(plain, options, { seed: 1 }).forward(x)
    for (const { runtime, pool } of drifting) {
      const layer = new MixtureOfAutoregressiveAttention(runtime, options, { seed: 1 })
      const { used } = runtime.info.memory
      let total = 0
      pool.beforePartition = () => void total++
      await layer.forward(x)
      for (const place of [1, 2, 17, total >> 2, total >> 1, (total >> 1) + 1, total - 1]) {
        const controller = new AbortController()
        let partitions = 0
        pool.beforePartition = () => void (++partitions === place && controller.abort('enough'))
        const outcome = await outcomeOf(layer.forward(x, { signal: controller.signal }))
        pool.beforePartition = () => undefined
        expect(outcome).toEqual({ reason: 'enough' })
        expect(runtime.info.memory.used).toBe(used)
        expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0)
      }
      expectSameBits(await layer.forward(x), expected)
      layer.dispose()
    }
  }
})

test('a dispatch that is stopped writes nothing, and releases its successor from its serialized sections', async () => {
  const { runtime, pool } = openDriftingRuntime(2, 'the first group')
  const model = await loadSmallModel(runtime, causalConfig)
  const session = model.createSession()
  await session.append(tokens.slice(0, 60))
  const controller = new AbortController()
  const run = pool.run.bind(pool)
  const headers: number[] = []
  pool.run = (work) => {
    for (let i = 0; i < work.headerCount; i++) headers.push(work.headers + i * work.headerBytes)
    // before any of it has begun
    controller.abort('enough')
    const words = new Int32Array(pool.build.memory.buffer)
    expect(words[words[headers[0]! / 4 + DispatchHeader.Stop]! / 4]).toBe(1)
    const before = new Uint8Array(pool.build.memory.buffer).slice()
    return run(work).then(() => {
      const after = new Uint8Array(pool.build.memory.buffer)
      const inHeader = (at: number) => headers.some((header) => at >= header && at < header + DispatchHeader.Length * 4)
      const changed = before.findIndex((byte, at) => byte !== after[at] && !inHeader(at))
      expect(changed).toBe(-1)
    })
  }
  expect(await outcomeOf(session.append(tokens.slice(60), { signal: controller.signal }))).toEqual({ reason: 'enough' })
  expect(headers.length).toBeGreaterThan(0)
  await runtime.dispose()
})

describe.each([2, 4])('on %i threads of their own', (threads) => {
  async function open(config: Record<string, unknown>) {
    const runtime = await createRuntime({ threads })
    expect(runtime.info.threads).toBe(threads)
    const pool = runtime.pool!
    Object.assign(pool, { smallWork: 0 })
    const model = await loadSmallModel(runtime, config)
    const session = model.createSession()
    await session.append(tokens.slice(0, 60))
    return { runtime, pool, model, session, [Symbol.asyncDispose]: () => runtime.dispose() }
  }

  test.each(kinds)('a session of a %s model is unchanged after an abort, and its next append is correct', async (_kind, config) => {
    await using one = await createRuntime({ threads: 1 })
    const expected = await expectedAnswer(one, config)
    await using opened = await open(config)
    const { runtime, pool, session } = opened
    const run = pool.run.bind(pool)
    let total = 0
    pool.run = (work) => (total++, run(work))
    await session.clone().append(tokens.slice(60))
    const [saved, { used }] = [session.save(), runtime.info.memory]
    for (let round = 0; round < 60; round++) {
      const controller = new AbortController()
      let works = 0
      // somewhere in the middle of the first, second, … work: threads run while this one spins
      pool.run = (work) => {
        const done = run(work)
        if (++works > round % total) {
          for (const end = performance.now() + (round / 60) * 0.5; performance.now() < end;);
          controller.abort(round)
        }
        return done
      }
      const outcome = await outcomeOf(session.append(tokens.slice(60), { signal: controller.signal }))
      pool.run = run
      expect(outcome).toEqual({ reason: round })
      expect(session.save()).toEqual(saved)
      expect(runtime.info.memory.used).toBe(used)
      expect(getEventListeners(controller.signal, 'abort')).toHaveLength(0)
    }
    expect(await session.append(tokens.slice(60))).toEqual(expected)
  })

  test('other calls continue, correctly, when one of several is aborted or disposed of', async () => {
    await using one = await createRuntime({ threads: 1 })
    const expected = await expectedAnswer(one, causalConfig)
    await using opened = await open(causalConfig)
    const { model, session, pool } = opened
    const run = pool.run.bind(pool)
    for (let round = 0; round < 12; round++) {
      const sessions = [session, session, session].map((each) => each.clone())
      const controller = new AbortController()
      let works = 0
      pool.run = (work) => {
        const done = run(work)
        if (++works === 1 + (round % 5)) {
          controller.abort('enough')
          sessions[1]!.dispose()
        }
        return done
      }
      const outcomes = await Promise.all(
        sessions.map((each, i) => outcomeOf(each.append(tokens.slice(60), i === 0 ? { signal: controller.signal } : {}))),
      )
      pool.run = run
      expect([{ reason: 'enough' }, { value: expected }]).toContainEqual(outcomes[0])
      if ('reason' in outcomes[1]!) expect(outcomes[1].reason).toMatchObject({ code: 'DISPOSED' })
      else expect(outcomes[1]!.value).toEqual(expected)
      expect(outcomes[2]).toEqual({ value: expected })
      for (const each of sessions) each.dispose()
    }
    model.dispose()
  })

  test('a thread lost during or before an abort ends the call, and the calling thread takes over', async () => {
    await using one = await createRuntime({ threads: 1 })
    const expected = await expectedAnswer(one, causalConfig)
    for (const first of ['abort', 'loss'] as const) {
      await using opened = await open(causalConfig)
      const { runtime, session, pool } = opened
      const saved = session.save()
      const controller = new AbortController()
      const run = pool.run.bind(pool)
      pool.run = (work) => {
        if (first === 'abort') controller.abort('enough')
        pool.loseThread()
        const done = run(work)
        controller.abort('enough')
        return done
      }
      const outcome = await outcomeOf(session.append(tokens.slice(60), { signal: controller.signal }))
      expect(outcome).toHaveProperty('reason')
      // the abort may have been through before the thread was lost
      await eventually(() => expect(runtime.info.threads).toBe(1))
      expect(session.save()).toEqual(saved)
      expect(await session.append(tokens.slice(60))).toEqual(expected)
    }
  })
})
