/** Tokens that sessions read at the same time are read together, and each session's bits are those it has alone. */
import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { createRuntime } from '../../src/device/create-runtime.js'
import { Dispatch, DispatchHeader } from '../../src/device/device.js'
import type { Runtime } from '../../src/device/runtime.js'
import { DecodeBatcher } from '../../src/model/executor/decode-batcher.js'
import { LanguageModel } from '../../src/model/language-model.js'
import type { Session } from '../../src/model/session.js'
import { leaveOften } from '../support/leaving.js'
import { allBuilds, openRuntime } from '../support/runtimes.js'
import { causalConfig, causalConfigs, loadSmallModel, randomTokens, smallModel, smallModelFiles } from '../support/small-models.js'
import { runs } from '../support/seed.js'

afterEach(() => void vi.restoreAllMocks())

/** The number of sequences in each dispatch that has several. */
function watchBatches(runtime: Runtime): number[] {
  const batches: number[] = []
  const { device } = runtime
  const run = device.run.bind(device)
  device.run = (program, dispatches, interrupt) => {
    if (dispatches instanceof Dispatch && dispatches.sequences.length > 0) batches.push(dispatches.sequences.length)
    return run(program, dispatches, interrupt)
  }
  return batches
}

interface Reading {
  readonly logits: Float32Array
  readonly saved: Uint8Array
}

/** Reads `prompt` at once and the other tokens one by one. */
async function readInSteps(session: Session, prompt: number[], rest: number[]): Promise<Reading[]> {
  const readings: Reading[] = []
  await session.append(prompt)
  for (const token of rest) readings.push({ logits: await session.append([token]), saved: session.save() })
  return readings
}

describe.each(allBuilds)('on the build %s', (build) => {
  test.each([1, 3])('sessions get the same bits together as alone, in %i partitions', async (partitions) => {
    await fc.assert(
      fc.asyncProperty(causalConfigs, fc.integer({ min: 2, max: 6 }), fc.nat(), async (config, count, seed) => {
        using runtime = openRuntime(build, partitions)
        if (seed % 2) leaveOften(runtime)
        const model = await loadSmallModel(runtime, { ...config, max_positions: null }, seed)
        const texts = Array.from({ length: count }, (_, index) => randomTokens(3 + 11 * index + 30, config.num_tokens, seed + index))
        const read = (text: number[]) => readInSteps(model.createSession(), text.slice(0, -30), text.slice(-30))
        const alone: Reading[][] = []
        for (const text of texts) alone.push(await read(text))
        const batches = watchBatches(runtime)
        expect(await Promise.all(texts.map(read))).toEqual(alone)
        expect(Math.max(...batches)).toBe(count)
      }),
      runs(4),
    )
  })
})

test.each(['relaxed', 'baseline'] as const)('int8 models do too, on the build %s', async (build) => {
  using runtime = openRuntime(build)
  const model = await LanguageModel.load(smallModelFiles(smallModel(causalConfig)), { runtime, quantize: 'int8' })
  const texts = Array.from({ length: 5 }, (_, index) => randomTokens(40 + index, causalConfig.num_tokens, index))
  const read = (text: number[]) => readInSteps(model.createSession(), text.slice(0, 9), text.slice(9))
  const alone: Reading[][] = []
  for (const text of texts) alone.push(await read(text))
  const batches = watchBatches(runtime)
  expect(await Promise.all(texts.map(read))).toEqual(alone)
  expect(Math.max(...batches)).toBe(5)
})

describe('the order of waiting sessions', () => {
  test('a lone session reads its tokens immediately, in dispatches of its own', async () => {
    using runtime = openRuntime('relaxed')
    const model = await loadSmallModel(runtime, causalConfig)
    const batches = watchBatches(runtime)
    for (let i = 0; i < 3; i++) {
      const session = model.createSession()
      for (const token of randomTokens(20, causalConfig.num_tokens)) await session.append([token])
      session.dispose()
    }
    // a session's first token after another's waits for a turn, and those that end a window do
    expect(batches.every((count) => count === 1)).toBe(true)
    expect(batches.length).toBeLessThan(3 * 6)
  })

  test('more sessions than fit in one dispatch take turns, fairly', async () => {
    using runtime = openRuntime('relaxed')
    Object.assign(runtime.device, { sequences: 4 })
    const model = await loadSmallModel(runtime, causalConfig)
    const batches = watchBatches(runtime)
    const done: number[] = []
    const read = async (session: Session, index: number) => {
      for (let i = 0; i < 6; i++) {
        await session.append([i])
        done.push(index)
      }
    }
    await Promise.all(Array.from({ length: 10 }, (_, index) => read(model.createSession(), index)))
    expect(Math.max(...batches)).toBe(4)
    const counts = new Array<number>(10).fill(0)
    for (const index of done) {
      counts[index]!++
      expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(2)
    }
  })

  /**
   * Reads prompts while other sessions read token after token.
   * @returns from the first batch of tokens to the last chunk, what was handed to the device: 'tokens', or the worker groups
   * of the chunks submitted together; and for each token, how many submissions began while it waited
   */
  async function readBeside(runtime: Runtime): Promise<{ during: ('tokens' | number[])[]; waited: number[] }> {
    const model = await loadSmallModel(runtime, causalConfig)
    const order: ('tokens' | number[])[] = []
    const waited: number[] = []
    let submissions = 0
    let submissionsBefore = 0
    const { device } = runtime
    const run = device.run.bind(device)
    device.run = (program, dispatches, interrupt) => {
      const submission = [dispatches].flat()
      const chunks = submission.filter(({ sequences, header }) => sequences.length === 0 && header[DispatchHeader.Rows]! > 1)
      if (submission.some(({ sequences }) => sequences.length > 0)) {
        order.push('tokens')
        submissionsBefore = submissions
        // what ends a window is a program of its own, for one row
      } else if (chunks.length > 0) {
        order.push(chunks.map(({ workerGroup }) => workerGroup))
        submissions++
      }
      return run(program, dispatches, interrupt)
    }
    const { read } = DecodeBatcher.prototype
    vi.spyOn(DecodeBatcher.prototype, 'read').mockImplementation(async function (this: DecodeBatcher, step, interrupt) {
      const before = submissions
      const cursor = await read.call(this, step, interrupt)
      waited.push(submissionsBefore - before)
      return cursor
    })
    let isReading = true
    const writers = [4, 5].map(async (seed) => {
      const session = model.createSession()
      for (const token of randomTokens(2000, causalConfig.num_tokens, seed)) {
        if (!isReading) break
        await session.append([token])
      }
    })
    const prompts = [1, 2, 3].map((seed) => randomTokens(150, causalConfig.num_tokens, seed))
    await Promise.all(prompts.map((prompt) => model.createSession().append(prompt)))
    isReading = false
    await Promise.all(writers)
    const isChunk = (entry: 'tokens' | number[]) => entry !== 'tokens'
    return { during: order.slice(order.indexOf('tokens'), order.findLastIndex(isChunk) + 1), waited }
  }

  test("tokens wait for at most one chunk of other sessions' prompts, and prompts for at most one batch of tokens", async () => {
    using runtime = openRuntime('relaxed')
    Object.assign(runtime.device, { leaveWork: 1 })
    const { during } = await readBeside(runtime)
    expect(during.length).toBeGreaterThan(20)
    expect(during).toEqual(during.map((_, index) => (index % 2 === 0 ? 'tokens' : [0])))
  })

  test('on threads, tokens wait for at most one chunk of each worker group, and those are computed at the same time', async () => {
    await using runtime = await createRuntime({ threads: 2, simd: 'relaxed' })
    Object.assign(runtime.pool!, { smallWork: 0 })
    const groups = Array.from({ length: runtime.device.workerGroups(0) }, (_, index) => index)
    const { during, waited } = await readBeside(runtime)
    expect(during.length).toBeGreaterThan(20)
    // without tokens since the last ones, more chunks are submitted together
    const afterTokens = during.filter((entry, index) => entry !== 'tokens' && during[index - 1] === 'tokens')
    for (const entry of afterTokens) expect(groups.slice(0, entry.length)).toEqual(entry)
    // one that is under way has begun before
    expect(Math.max(...waited)).toBeLessThanOrEqual(1)
    expect(during.filter((entry) => entry === 'tokens').length).toBeGreaterThan(5)
  })
})

describe('a state that a token overwrites parts of', () => {
  /** A window ends every 32 tokens; the local buffer, of 48 keys, moves at position 48, and again every 32 tokens. */
  const config = { ...causalConfig, local_attn_window_size: 8, routed_window_size: 32 }
  const tokens = (seed: number) => randomTokens(150, config.num_tokens, seed)

  /** Counts the states that are allocated. */
  function watchStates(runtime: Runtime): () => number {
    const allocate = vi.spyOn(runtime.device, 'allocate')
    return () => allocate.mock.calls.filter(([, purpose]) => purpose === "a session's state").length
  }

  test('is not copied, in batches or alone', async () => {
    using runtime = openRuntime('relaxed')
    const model = await loadSmallModel(runtime, config)
    const sessions = [1, 2].map(() => model.createSession())
    const countStates = watchStates(runtime)
    await Promise.all(sessions.map((session, seed) => readInSteps(session, tokens(seed).slice(0, 1), tokens(seed).slice(1))))
    expect(countStates()).toBe(0)
    const alone = await readInSteps(model.createSession(), tokens(0).slice(0, 1), tokens(0).slice(1))
    expect(countStates()).toBe(1)
    expect((await sessions[0]!.append([1])).length).toBe(alone[0]!.logits.length)
  })

  test('is saved and cloned as it was while the token is pending, and left like that if it fails', async () => {
    using runtime = openRuntime('relaxed')
    const model = await loadSmallModel(runtime, config)
    const text = tokens(0).slice(0, 100)
    const alone = await readInSteps(model.createSession(), text.slice(0, 40), text.slice(40))
    const [session, other] = [model.createSession(), model.createSession()]
    const { device } = runtime
    const run = device.run.bind(device)
    let leaving: AbortController | undefined
    const pending: { saved: Uint8Array; clone: Session }[] = []
    device.run = (program, dispatches, interrupt) => {
      const running = run(program, dispatches, interrupt)
      if (leaving) {
        pending.push({ saved: session.save(), clone: session.clone() })
        leaving.abort(new Error('left'))
      }
      return running
    }
    let failures = 0
    await Promise.all([session.append(text.slice(0, 40)), other.append([1])])
    for (const [index, token] of text.slice(40).entries()) {
      leaving = new AbortController()
      const { signal } = leaving
      const before = session.save()
      const results = await Promise.allSettled([session.append([token], { signal }), other.append([token])])
      leaving = undefined
      for (const { saved, clone } of pending.splice(0)) {
        expect(saved).toEqual(before)
        expect(await clone.append([token])).toEqual(alone[index]!.logits)
        clone.dispose()
      }
      if (results[0].status === 'rejected') {
        failures++
        expect(session.save()).toEqual(before)
        await session.append([token])
      }
      // a session that is alone would read its next token at once
      await other.append([1])
      expect(session.save()).toEqual(alone[index]!.saved)
      expect(await session.append([])).toEqual(alone[index]!.logits)
    }
    expect(failures).toBe(text.length - 40)
  })
})
