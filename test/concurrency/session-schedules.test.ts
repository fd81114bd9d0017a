/**
 * Sessions of one model under random schedules: appends, generations, inspections, aborts, clones, saves, disposals, lost
 * threads, all at once. Whatever happens to others, each session ends with the bits of one that read the same tokens alone.
 */
import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import { nextMacrotask } from '../../src/event-loop.js'
import type { Runtime } from '../../src/device/runtime.js'
import { createRuntime, type ErrorCode, type Inspection, RoutedAttentionError } from '../../src/index.js'
import type { LanguageModel } from '../../src/model/language-model.js'
import type { Session } from '../../src/model/session.js'
import { leaveOften } from '../support/leaving.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, loadSmallModel, partlyRoutedConfig, poisonMemory, randomTokens } from '../support/small-models.js'
import { runs } from '../support/seed.js'

vi.setConfig({ testTimeout: 600_000 })

const action = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('tokens' as const), count: fc.integer({ min: 1, max: 9 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('prompt' as const), count: fc.integer({ min: 2, max: 30 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('generate' as const), count: fc.integer({ min: 1, max: 8 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('abort' as const), count: fc.integer({ min: 1, max: 20 }), after: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('clone' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restore' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('inspect' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('pause' as const), turns: fc.nat(4) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('dispose' as const), after: fc.nat(3) }) },
)
type Action = typeof action extends fc.Arbitrary<infer T> ? T : never

const schedule = fc.record({
  config: fc.constantFrom(causalConfig, partlyRoutedConfig),
  seed: fc.nat(),
  sessions: fc.array(fc.array(action, { minLength: 1, maxLength: 6 }), { minLength: 2, maxLength: 20 }),
})

interface Finished {
  readonly tokens: readonly number[]
  readonly logits: Float32Array
  readonly saved: Uint8Array
}

/** An inspection of a session that had read these tokens. */
interface Inspected {
  readonly tokens: readonly number[]
  readonly inspection: Inspection
}

interface Results {
  readonly finished: Finished[]
  readonly inspected: Inspected[]
}

const isOneOf = (error: unknown, ...codes: ErrorCode[]) => error instanceof RoutedAttentionError && codes.includes(error.code)

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await nextMacrotask()
}

/** Follows one session's actions to their end; a session that has read nothing, or was disposed of, adds nothing. */
async function follow(
  model: LanguageModel,
  first: Session,
  actions: readonly Action[],
  seed: number,
  read: number[],
  results: Results,
): Promise<void> {
  const numTokens = model.config.numTokens
  const ids = (count: number) => randomTokens(count, numTokens, seed + 7 * read.length)
  /** Clones and inspections, which go on beside what follows. */
  const beside: Promise<void>[] = []
  let session = first
  const inspect = async () => {
    const tokens = [...read]
    try {
      results.inspected.push({ tokens, inspection: await session.inspect() })
    } catch (error) {
      if (!isOneOf(error, 'DISPOSED', 'WORKER_FAILED')) throw error
    }
  }
  /** Appends, again if a thread was lost in the middle: the session is unchanged then. */
  const append = async (tokens: number[], signal?: AbortSignal) => {
    for (;;) {
      try {
        await session.append(tokens, { signal })
        read.push(...tokens)
        return
      } catch (error) {
        if (!isOneOf(error, 'WORKER_FAILED')) throw error
      }
    }
  }
  for (const [index, each] of actions.entries()) {
    if (each.kind === 'tokens') for (const token of ids(each.count)) await append([token])
    else if (each.kind === 'prompt') await append(ids(each.count))
    else if (each.kind === 'pause') await turns(each.turns)
    else if (each.kind === 'inspect') {
      if (read.length > 0) beside.push(inspect())
    } else if (each.kind === 'generate') {
      try {
        for await (const { id } of session.generate(ids(2), { maxTokens: each.count, seed, ignoreEos: true })) void id
      } catch (error) {
        if (!isOneOf(error, 'WORKER_FAILED')) throw error
      }
      // what was generated is found out from the session itself
      const prompt = ids(2)
      const length = session.position - read.length
      if (length > 0) read.push(...prompt.slice(0, length), ...session.recentIds.slice(session.recentIds.length - Math.max(0, length - 2)))
    } else if (each.kind === 'abort') {
      const controller = new AbortController()
      const appending = append(ids(each.count), controller.signal)
      void turns(each.after).then(() => controller.abort())
      if (each.after === 0) controller.abort()
      await appending.catch((error: unknown) => {
        if ((error as Error).name !== 'AbortError') throw error
      })
    } else if (each.kind === 'clone') {
      beside.push(follow(model, session.clone(), actions.slice(index + 1), seed + 1, [...read], results))
    } else if (each.kind === 'restore') {
      const restored = model.restoreSession(session.save())
      session.dispose()
      session = restored
    } else {
      const pending = session.append(ids(5))
      await turns(each.after)
      session.dispose()
      await pending.catch((error: unknown) => {
        if (!isOneOf(error, 'DISPOSED', 'WORKER_FAILED')) throw error
      })
      await Promise.all(beside)
      return
    }
  }
  if (read.length > 0) results.finished.push({ tokens: read, logits: await session.append([]), saved: session.save() })
  session.dispose()
  await Promise.all(beside)
}

async function expectAlone(model: LanguageModel, { finished, inspected }: Results): Promise<void> {
  for (const { tokens, logits, saved } of finished) {
    const session = model.createSession()
    expect(await session.append(tokens)).toEqual(logits)
    expect(session.save()).toEqual(saved)
    session.dispose()
  }
  for (const { tokens, inspection } of inspected) {
    const session = model.createSession()
    await session.append(tokens)
    expect(await session.inspect()).toEqual(inspection)
    session.dispose()
  }
}

async function runSchedule(
  runtime: Runtime,
  alone: Runtime,
  { config, seed, sessions }: typeof schedule extends fc.Arbitrary<infer T> ? T : never,
) {
  const [model, reference] = [await loadSmallModel(runtime, config), await loadSmallModel(alone, config)]
  const results: Results = { finished: [], inspected: [] }
  await Promise.all(sessions.map((actions, index) => follow(model, model.createSession(), actions, seed + index, [], results)))
  await expectAlone(reference, results)
  model.dispose()
  reference.dispose()
  return { finished: results.finished.length, inspected: results.inspected.length }
}

test.each([
  ['programs at full length', () => undefined, 420],
  ['programs left as often as can be', leaveOften, 300],
  ['callers isolated', (runtime: Runtime) => runtime.isolateCallers(), 240],
])('on the calling thread, %s', async (_how, arrange, count) => {
  using runtime = openRuntime('checked-relaxed')
  using alone = openRuntime('relaxed')
  arrange(runtime)
  poisonMemory(runtime)
  const empty = runtime.info.memory.used
  let finished = 0
  let inspected = 0
  await fc.assert(
    fc.asyncProperty(schedule, async (drawn) => {
      const counts = await runSchedule(runtime, alone, drawn)
      finished += counts.finished
      inspected += counts.inspected
    }),
    runs(count),
  )
  expect(finished).toBeGreaterThan(count)
  expect(inspected).toBeGreaterThan(count / 2)
  expect(runtime.info.memory.used).toBe(empty)
})

test('on threads that are lost during calls', async () => {
  using alone = openRuntime('relaxed')
  await fc.assert(
    fc.asyncProperty(schedule, fc.nat(60), async (drawn, after) => {
      await using runtime = await createRuntime({ threads: 2, simd: 'relaxed' })
      Object.assign(runtime.pool!, { smallWork: 0 })
      const losing = turns(after).then(() => runtime.pool?.loseThread())
      await runSchedule(runtime, alone, drawn)
      await losing
    }),
    runs(40),
  )
})
