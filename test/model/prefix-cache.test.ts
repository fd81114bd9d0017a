import fc from 'fast-check'
import { afterAll, beforeEach, describe, expect, test, vi } from 'vitest'
import type { LanguageModel } from '../../src/model/language-model.js'
import { PrefixCache, type PrefixReading } from '../../src/model/prefix-cache.js'
import { commonLength } from '../../src/model/prefix-cache/token-trie.js'
import { Session } from '../../src/model/session.js'
import { expectRejects, expectThrows } from '../support/errors.js'
import { eventually } from '../support/eventually.js'
import { afterRun, outcomeOf } from '../support/interruptions.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, loadSmallModel, publishedConfig, randomTokens } from '../support/small-models.js'
import { runs } from '../support/seed.js'

const V = causalConfig.num_tokens
const runtime = openRuntime('baseline')
const model = await loadSmallModel(runtime, causalConfig)
const published = await loadSmallModel(runtime, publishedConfig)
const limited = await loadSmallModel(runtime, { ...causalConfig, max_positions: 50 })
afterAll(() => runtime.dispose())

const text = randomTokens(4_000, V)
/** Another text that begins with the first `length` tokens. */
const branch = (length: number, more: number, seed: number) => [
  ...text.slice(0, length),
  (text[length]! + 1) % V,
  ...randomTokens(more, V, seed),
]

const append = vi.spyOn(Session.prototype, 'append')
beforeEach(() => void append.mockClear())
/** How many tokens sessions have read in this test. */
const countTokens = () => append.mock.calls.reduce((sum, [ids]) => sum + ids.length, 0)

/** Whether logits and saved bytes are those of a session that has read it all by itself. */
async function expectOwnBits(owner: LanguageModel, ids: readonly number[], session: Session, logits?: Float32Array): Promise<void> {
  using own = owner.createSession()
  const expected = await own.append(ids)
  const actual = logits ?? (await session.append([]))
  expect(Buffer.compare(Buffer.from(actual.buffer), Buffer.from(expected.buffer))).toBe(0)
  expect(Buffer.compare(session.save(), own.save())).toBe(0)
  const next = [1, 2, 3]
  expect(await session.append(next)).toEqual(await own.append(next))
  expect(Buffer.compare(session.save(), own.save())).toBe(0)
}

async function finish(owner: LanguageModel, ids: readonly number[], { session, logits }: PrefixReading): Promise<void> {
  await expectOwnBits(owner, ids, session, logits)
  session.dispose()
}

describe('reading', () => {
  test('continues from the end of an earlier prompt, and repeats the logits of the same one', async () => {
    const cache = new PrefixCache(model)
    const ids = text.slice(0, 150)
    const first = await cache.read(ids)
    expect({ ...first, session: 0, logits: 0 }).toEqual({ session: 0, logits: 0, cachedTokens: 0 })
    const same = await cache.read(ids)
    const longer = await cache.read(text.slice(0, 200))
    expect([same.cachedTokens, longer.cachedTokens, countTokens()]).toEqual([150, 150, 200])
    for (const reading of [first, same]) await finish(model, ids, reading)
    await finish(model, text.slice(0, 200), longer)
    expect(cache.size).toBe(2)
  })

  test('keeps a snapshot where a second prompt parts from the first, so that the third reads only the rest', async () => {
    const cache = new PrefixCache(model)
    const prompts = [1, 2, 3].map((seed) => branch(300, 20, seed))
    const cached: number[] = []
    for (const ids of prompts) {
      const reading = await cache.read(ids)
      cached.push(reading.cachedTokens)
      await finish(model, ids, reading)
    }
    // the branches have their first token in common as well
    expect(cached).toEqual([0, 0, 301])
    expect(cache.size).toBe(4)
  })

  test('keeps none where prompts part after a few tokens', async () => {
    const cache = new PrefixCache(model)
    for (const ids of [text.slice(0, 90), branch(30, 60, 1)]) (await cache.read(ids)).session.dispose()
    expect(cache.size).toBe(2)
  })

  test('continues a remembered turn', async () => {
    const cache = new PrefixCache(model)
    const prompt = text.slice(0, 70)
    const { session } = await cache.read(prompt)
    const turn: number[] = []
    for await (const { id } of session.generate(null, { maxTokens: 20, temperature: 0 })) turn.push(id)
    cache.remember([...prompt, ...turn], session)
    session.dispose()
    const ids = [...prompt, ...turn, ...text.slice(70, 80)]
    const next = await cache.read(ids)
    expect(next.cachedTokens).toBe(90)
    await finish(model, ids, next)
  })

  test('reports progress to the end of the prompt', async () => {
    const cache = new PrefixCache(model)
    const seen: number[] = []
    const onProgress = ({ type, done, total }: { type: string; done: number; total: number }) => {
      expect([type, total]).toEqual(['prompt', 1_500])
      seen.push(done)
    }
    const ids = text.slice(0, 1_500)
    for (let i = 0; i < 2; i++) (await cache.read(ids, { onProgress })).session.dispose()
    expect(seen).toEqual([512, 1_024, 1_500, 1_500])
    const failure = new Error('seen enough')
    const onThrow = () => {
      throw failure
    }
    expect(await outcomeOf(cache.read(text.slice(5), { onProgress: onThrow }))).toEqual({ reason: failure })
    expect(await outcomeOf(cache.read(ids, { onProgress: onThrow }))).toEqual({ reason: failure })
  })

  test('of a full-sequence model reuses whole prompts alone', async () => {
    const cache = new PrefixCache(published)
    const ids = text.slice(0, 80)
    const readings = await Promise.all([cache.read(ids), cache.read(ids), cache.read(text.slice(0, 90))])
    const again = await cache.read(ids)
    expect([...readings, again].map(({ cachedTokens }) => cachedTokens)).toEqual([0, 80, 0, 80])
    expect(countTokens()).toBe(80 + 90)
    for (const reading of [readings[0], readings[1], again]) await finish(published, ids, reading)
    await finish(published, text.slice(0, 90), readings[2])
    expect(cache.open(text.slice(0, 85)).length).toBe(0)
    expect(cache.open(ids).length).toBe(80)
  })
})

describe('overlapping reads', () => {
  test('of one prompt read it once', async () => {
    const cache = new PrefixCache(model)
    const ids = text.slice(0, 200)
    const readings = await Promise.all([cache.read(ids), cache.read(ids), cache.read(ids)])
    expect([countTokens(), ...readings.map(({ cachedTokens }) => cachedTokens)]).toEqual([200, 0, 200, 200])
    expect(new Set(readings.map(({ session }) => session)).size).toBe(3)
    for (const reading of readings) await finish(model, ids, reading)
  })

  test('of diverging prompts read their common prefix once, and the next finds it', async () => {
    const cache = new PrefixCache(model)
    const prompts = [text.slice(0, 400), branch(300, 30, 1), branch(200, 40, 2), branch(300, 30, 1)]
    const readings = await Promise.all(prompts.map((ids) => cache.read(ids)))
    expect(readings.map(({ cachedTokens }) => cachedTokens)).toEqual([0, 300, 200, 331])
    expect(countTokens()).toBe(400 + 31 + 41)
    for (const [index, ids] of prompts.entries()) await finish(model, ids, readings[index]!)
    const later = await cache.read(branch(300, 10, 9))
    expect(later.cachedTokens).toBe(300)
    later.session.dispose()
  })

  test('join a pending one that has yet to reach their prefix', async () => {
    const cache = new PrefixCache(model)
    const ids = text.slice(0, 2_000)
    let joined: Promise<PrefixReading[]> | undefined
    const late = [branch(900, 10, 1), branch(1_500, 10, 2), ids]
    const onProgress = ({ done }: { done: number }) => {
      if (done === 512) joined = Promise.all(late.map((prompt) => cache.read(prompt)))
    }
    const first = await cache.read(ids, { onProgress })
    const others = await joined!
    expect(others.map(({ cachedTokens }) => cachedTokens)).toEqual([900, 1_500, 2_000])
    expect(countTokens()).toBe(2_000 + 11 + 11)
    for (const [index, prompt] of [ids, ...late].entries()) await finish(model, prompt, [first, ...others][index]!)
  })

  test('read on their own what another has already passed, and leave a snapshot there', async () => {
    const cache = new PrefixCache(model)
    let joined: Promise<PrefixReading> | undefined
    const onProgress = ({ done }: { done: number }) => {
      if (done === 512) joined = cache.read(branch(400, 10, 1))
    }
    const first = await cache.read(text.slice(0, 2_000), { onProgress })
    const second = await joined!
    expect(second.cachedTokens).toBe(0)
    const third = await cache.read(branch(400, 10, 7))
    expect(third.cachedTokens).toBeGreaterThanOrEqual(400)
    for (const { session } of [first, second, third]) session.dispose()
  })

  test('with share: false wait for no other', async () => {
    const cache = new PrefixCache(model)
    const ids = text.slice(0, 100)
    const readings = await Promise.all([
      cache.read(ids, { share: false }),
      cache.read(ids),
      cache.read(ids, { share: false }),
      cache.read(ids),
    ])
    expect(readings.map(({ cachedTokens }) => cachedTokens)).toEqual([0, 0, 0, 100])
    expect(countTokens()).toBe(300)
    for (const reading of readings) await finish(model, ids, reading)
  })

  test('continue when the first is aborted, no further than the others need', async () => {
    const cache = new PrefixCache(model)
    const leaving = new AbortController()
    const ids = text.slice(0, 3_000)
    const onProgress = () => leaving.abort('gone')
    const first = outcomeOf(cache.read(ids, { signal: leaving.signal, onProgress }))
    const second = cache.read(branch(700, 10, 1))
    const third = cache.read(text.slice(0, 800))
    expect(await first).toEqual({ reason: 'gone' })
    expect((await second).cachedTokens).toBe(700)
    expect((await third).cachedTokens).toBe(800)
    expect(countTokens()).toBe(800 + 11)
    await finish(model, branch(700, 10, 1), await second)
    await finish(model, text.slice(0, 800), await third)
  })

  test('end, with nothing left in memory, when all are aborted in the middle of an append', async () => {
    const cache = new PrefixCache(model)
    const used = runtime.info.memory.used
    const leaving = new AbortController()
    const signal = leaving.signal
    const end = afterRun(runtime, 2, () => leaving.abort(new Error('gone')))
    const outcomes = await Promise.all([
      outcomeOf(cache.read(text, { signal })),
      outcomeOf(cache.read(text, { signal })),
      outcomeOf(cache.read(branch(900, 9, 1), { signal })),
    ])
    end()
    expect(outcomes).toEqual(outcomes.map(() => ({ reason: signal.reason as unknown })))
    await eventually(() => expect(runtime.info.memory.used).toBe(used))
    // and the next begins anew
    const { session, cachedTokens } = await cache.read(text.slice(0, 100))
    expect(cachedTokens).toBe(0)
    session.dispose()
  })

  test('all fail with the same error', async () => {
    const cache = new PrefixCache(model)
    const failure = new Error('the test lets it fail')
    append.mockRejectedValueOnce(failure)
    const ids = text.slice(0, 100)
    const outcomes = await Promise.all([outcomeOf(cache.read(ids)), outcomeOf(cache.read(ids)), outcomeOf(cache.read(branch(90, 3, 1)))])
    expect(outcomes).toEqual(outcomes.map(() => ({ reason: failure })))
    expect((await outcomeOf(cache.read(ids))) as object).toHaveProperty('value')
  })

  test('leave no listener on a signal', async () => {
    const cache = new PrefixCache(model)
    const { signal } = new AbortController()
    const added = vi.spyOn(signal, 'addEventListener')
    const removed = vi.spyOn(signal, 'removeEventListener')
    const readings = await Promise.all([cache.read(text.slice(0, 99), { signal }), cache.read(text.slice(0, 88), { signal })])
    for (const { session } of readings) session.dispose()
    expect(added).toHaveBeenCalled()
    expect(removed.mock.calls.length).toBe(added.mock.calls.length)
  })
})

describe('the contents of the cache', () => {
  test('stay below maxBytes: the least recently used goes first', async () => {
    const prompts = [1, 2, 3].map((seed) => randomTokens(60, V, seed))
    const measure = new PrefixCache(model)
    for (const ids of prompts) (await measure.read(ids)).session.dispose()
    const maxBytes = measure.byteLength - 1
    expect(measure.size).toBe(3)

    const cache = new PrefixCache(model, { maxBytes })
    const [a, b, c] = prompts as [number[], number[], number[]]
    for (const ids of [a, b, a, c]) (await cache.read(ids)).session.dispose()
    expect(cache.byteLength).toBeLessThanOrEqual(maxBytes)
    expect([a, b, c].map((ids) => cache.open(ids).length)).toEqual([60, 0, 60])
    cache.clear()
    expect([cache.size, cache.byteLength]).toEqual([0, 0])
  })

  test('are empty if nothing fits, and reading works as without', async () => {
    for (const maxBytes of [0, 100]) {
      const cache = new PrefixCache(model, { maxBytes })
      const ids = text.slice(0, 40)
      for (let i = 0; i < 2; i++) await finish(model, ids, await cache.read(ids))
      expect([cache.size, cache.byteLength]).toEqual([0, 0])
    }
  })

  /** Prompts of which many begin alike. */
  const prompts = fc
    .record({
      length: fc.constantFrom(1, 20, 64, 70, 128, 200),
      more: fc.integer({ min: 0, max: 12 }),
      seed: fc.integer({ min: 1, max: 3 }),
    })
    .map(({ length, more, seed }) => branch(length, more, seed))
  const steps = fc.array(fc.record({ kind: fc.constantFrom('read', 'open', 'remember', 'clear'), ids: prompts }), { maxLength: 12 })

  test('are those of a plain list of snapshots, whatever is read, remembered and evicted', async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.integer({ min: 2_000, max: 60_000 }), async (all, maxBytes) => {
        const cache = new PrefixCache(model, { maxBytes })
        /** Least recently used first. */
        let kept: { ids: number[]; bytes: number }[] = []
        const begins = (ids: number[], prefix: number[]) => prefix.every((id, index) => id === ids[index])
        const byteLength = () => {
          const prefixes = new Set(kept.flatMap(({ ids }) => ids.map((_, index) => ids.slice(0, index + 1).join())))
          return kept.reduce((sum, { bytes }) => sum + bytes, 4 * prefixes.size)
        }
        const use = (ids: number[]) => {
          const entry = kept.find((other) => other.ids.join() === ids.join())
          if (entry) kept = [...kept.filter((other) => other !== entry), entry]
          return entry !== undefined
        }
        const longest = (ids: number[]) =>
          kept.reduce((most, other) => (begins(ids, other.ids) ? Math.max(most, other.ids.length) : most), 0)
        const keep = async (ids: number[]) => {
          if (use(ids)) return
          using own = model.createSession()
          await own.append(ids)
          const bytes = own.save().length
          if (bytes + 4 * ids.length > maxBytes) return
          kept.push({ ids, bytes })
          while (byteLength() > maxBytes) kept.shift()
        }

        for (const { kind, ids } of all) {
          if (kind === 'clear') {
            cache.clear()
            kept = []
          } else if (kind === 'open') {
            const { session, length } = cache.open(ids)
            expect(length).toBe(longest(ids))
            use(ids.slice(0, length))
            if (length > 0) await expectOwnBits(model, ids.slice(0, length), session)
            session.dispose()
          } else if (kind === 'remember') {
            using own = model.createSession()
            await own.append(ids)
            cache.remember(ids, own)
            await keep(ids)
          } else {
            const known = longest(ids)
            const shared = Math.max(0, ...kept.map((other) => commonLength(Int32Array.from(other.ids), Int32Array.from(ids))))
            use(ids.slice(0, known))
            const reading = await cache.read(ids)
            expect(reading.cachedTokens).toBe(known)
            if (shared < ids.length && shared >= known + 64) await keep(ids.slice(0, shared))
            await keep(ids)
            await finish(model, ids, reading)
          }
          expect({ size: cache.size, byteLength: cache.byteLength }).toEqual({ size: kept.length, byteLength: byteLength() })
        }
      }),
      runs(40),
    )
  })

  test('have the right bits, whichever calls start and abort while prompts are read', async () => {
    const calls = fc.array(
      fc.record({ ids: prompts, leaves: fc.option(fc.integer({ min: 0, max: 5 })), waits: fc.integer({ min: 0, max: 3 }) }),
      {
        minLength: 2,
        maxLength: 10,
      },
    )
    await fc.assert(
      fc.asyncProperty(calls, async (all) => {
        const cache = new PrefixCache(model, { maxBytes: 100_000 })
        const used = runtime.info.memory.used
        const turns = async (count: number) => {
          for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
        }
        await Promise.all(
          all.map(async ({ ids, leaves, waits }) => {
            await turns(waits)
            const leaving = new AbortController()
            if (leaves !== null) void turns(leaves).then(() => leaving.abort('left'))
            const outcome = await outcomeOf(cache.read(ids, { signal: leaving.signal }))
            if ('value' in outcome) await finish(model, ids, outcome.value)
            else expect({ ...outcome, leaves }).toEqual({ reason: 'left', leaves: expect.any(Number) as number })
          }),
        )
        await eventually(() => expect(runtime.info.memory.used).toBe(used))
      }),
      runs(60),
    )
  })
})

describe('invalid calls', () => {
  const cache = new PrefixCache(model)

  test('are rejected with typed errors', async () => {
    expectThrows(() => new PrefixCache(null as never), 'BAD_ARGUMENT', /model must be a LanguageModel, got null/)
    expectThrows(() => new PrefixCache(model, { maxByte: 5 } as never), 'BAD_ARGUMENT', /maxByte.*did you mean 'maxBytes'/)
    expectThrows(() => new PrefixCache(model, { maxBytes: -1 }), 'BAD_ARGUMENT', /maxBytes must be a number of bytes, at least 0, got -1/)
    await expectRejects(cache.read([]), 'BAD_ARGUMENT', /at least one token/)
    await expectRejects(cache.read([V]), 'BAD_ARGUMENT', /token id 0 must be an integer from 0 to 22, got 23/)
    await expectRejects(cache.read([1], { share: 1 as never }), 'BAD_ARGUMENT', /share must be a boolean, got 1/)
    await expectRejects(cache.read([1], { sigal: 1 } as never), 'BAD_ARGUMENT', /did you mean 'signal'/)
    await expectRejects(new PrefixCache(limited).read(text.slice(0, 51)), 'BAD_ARGUMENT', /51 tokens are more than the 50 positions/)
    expect(await outcomeOf(cache.read([1], { signal: AbortSignal.abort('no') }))).toEqual({ reason: 'no' })
  })

  test('cannot remember a session under ids that it has not read', async () => {
    using session = model.createSession()
    await session.append([1, 2, 3])
    expectThrows(() => cache.remember([1, 2], session), 'BAD_ARGUMENT', /2 token ids for a session that has read 3/)
    expectThrows(() => cache.remember([1, 2, 4], session), 'BAD_ARGUMENT', /has read other token ids/)
    expectThrows(() => cache.remember([1, 2, 3], null as never), 'BAD_ARGUMENT', /session must be one of this cache's model, got null/)
    using other = limited.createSession()
    await other.append([1, 2, 3])
    expectThrows(() => cache.remember([1, 2, 3], other), 'BAD_ARGUMENT', /session must be one of this cache's model/)
    cache.remember([], model.createSession())
    expect(cache.size).toBe(0)
  })
})

describe('after dispose', () => {
  test('of the cache, new calls are rejected and pending ones end, but sessions keep working', async () => {
    const cache = new PrefixCache(model)
    const { session } = await cache.read([1, 2, 3])
    const used = runtime.info.memory.used
    const pending = [outcomeOf(cache.read(text)), outcomeOf(cache.read(text)), outcomeOf(cache.read(text, { share: false }))]
    cache.dispose()
    cache.dispose()
    for (const outcome of await Promise.all(pending))
      expect(outcome).toMatchObject({ reason: { code: 'DISPOSED', message: /prefix cache/ } })
    await eventually(() => expect(runtime.info.memory.used).toBe(used))
    expect([cache.size, cache.byteLength]).toEqual([0, 0])
    await expectRejects(cache.read([1]), 'DISPOSED', /this prefix cache was disposed/)
    expectThrows(() => cache.open([1]), 'DISPOSED')
    expectThrows(() => cache.remember([1, 2, 3], session), 'DISPOSED')
    await expectOwnBits(model, [1, 2, 3], session)
    session.dispose()
  })

  test('of the model, calls end with DISPOSED', async () => {
    const own = await loadSmallModel(runtime, causalConfig)
    const cache = new PrefixCache(own)
    ;(await cache.read(text.slice(0, 30))).session.dispose()
    const pending = outcomeOf(cache.read(text))
    own.dispose()
    expect(await pending).toMatchObject({ reason: { code: 'DISPOSED' } })
    for (const ids of [[1], text.slice(0, 30)]) await expectRejects(cache.read(ids), 'DISPOSED')
    expectThrows(() => cache.open([1]), 'DISPOSED')
  })
})
