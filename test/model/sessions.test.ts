import { describe, expect, test, vi } from 'vitest'
import type { LanguageModel } from '../../src/model/language-model.js'
import type { Session } from '../../src/model/session.js'
import { largestDifference } from '../support/compare.js'
import { expectRejects, expectThrows } from '../support/errors.js'
import { afterRun, countRuns, outcomeOf } from '../support/interruptions.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, loadSmallModel, randomTokens } from '../support/small-models.js'
import { V, tokens, others, kinds, sessionAfter } from '../support/session-cases.js'

/** Logits after the last of `ids`, by a forward of their own. */
async function logitsAfter(model: LanguageModel, ids: number[]): Promise<Float32Array> {
  return (await model.forward(ids)).data.slice(-V)
}

test('an append copies the state of a causal model only if one of its chunks overwrites some of it', async () => {
  using runtime = openRuntime('baseline')
  const model = await loadSmallModel(runtime, causalConfig)
  const { routed_window_size: window, local_attn_window_size: localWindow } = causalConfig
  const allocate = vi.spyOn(runtime.device, 'allocate')
  const copies = () => allocate.mock.calls.filter(([, purpose]) => purpose === "a session's state").length
  /** Where the local buffer, of whole panels, has no room for one more and moves on. */
  const capacity = Math.ceil((localWindow + 8 + window) / 8) * 8

  await model.forward([])
  expect(copies()).toBe(1) // the sequence's own
  const session = model.createSession()
  for (let position = 0; position <= capacity; position++) {
    allocate.mockClear()
    await session.append([position % V])
    // a token that closes a window does that in place
    expect(copies(), `at position ${position}`).toBe(Number(position === capacity))
  }
  const other = model.createSession()
  for (const [length, taken] of [
    [window - 1, 0],
    [1, 0],
    [1, 0],
    [window - 1, 0],
    [2, 1], // a chunk that closes a window
    [2 * window, 1], // several chunks, of which two close a window
  ] as const) {
    allocate.mockClear()
    await other.append(tokens.slice(0, length))
    expect(copies(), `${length} tokens`).toBe(taken)
  }
})

describe.each(kinds)('a session of a %s model', (_kind, config) => {
  test('gives after each append the logits of one forward over all tokens so far, to the bit', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    const session = model.createSession()
    expect(session.position).toBe(0)
    for (const token of tokens) {
      const logits = await session.append([token])
      expect(logits).toEqual(await logitsAfter(model, tokens.slice(0, session.position)))
    }
    expect(session.position).toBe(tokens.length)
  })

  test('accepts ids in arrays and in every integer typed array', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    const expected = await logitsAfter(model, tokens)
    for (const type of [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array]) {
      expect(await model.createSession().append(type.from(tokens))).toEqual(expected)
    }
    expect(await model.createSession().append(Buffer.from(tokens))).toEqual(expected)
    expect(await model.createSession().append(Object.freeze([...tokens]))).toEqual(expected)
  })

  test('repeats its last logits for append([]), unless it is new', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    const session = model.createSession()
    await expectRejects(session.append([]), 'BAD_ARGUMENT', /at least one token/)
    const last = await session.append(tokens)
    for (const same of [session, session.clone(), model.restoreSession(session.save())]) {
      expect(await same.append([])).toEqual(last)
      expect(await same.append(new Int32Array(0))).toEqual(last)
      expect(same.position).toBe(tokens.length)
    }
    const restored = model.restoreSession(model.createSession().save())
    await expectRejects(restored.append([]), 'BAD_ARGUMENT', /at least one token/)
    expect(await restored.append(tokens)).toEqual(last)
  })

  test('moves to other numbers of threads, to the bit, and to the other build within rounding', async () => {
    const baseline = [1, 2, 3].map((shares) => openRuntime('baseline', shares))
    const relaxed = openRuntime('relaxed', 2)
    const models = await Promise.all([...baseline, relaxed].map((runtime) => loadSmallModel(runtime, config)))
    const expected = await logitsAfter(models[0]!, tokens)
    for (const length of [0, 1, 6, 7, 8, 20, 21, 35, 63]) {
      const saved = (await sessionAfter(models[0]!, tokens.slice(0, length))).save()
      for (const model of models) {
        const restored = model.restoreSession(saved)
        expect(restored.position).toBe(length)
        expect(restored.save()).toEqual(saved)
        const logits = await restored.append(tokens.slice(length))
        if (model.runtime === relaxed) expect(largestDifference(logits, expected)).toBeLessThan(1e-4)
        else expect(logits, `from ${length} tokens on`).toEqual(expected)
      }
    }
    for (const runtime of [...baseline, relaxed]) await runtime.dispose()
  })

  test('saves bytes that depend on the tokens, not on how they were appended', async () => {
    using runtime = openRuntime('baseline', 3)
    const model = await loadSmallModel(runtime, config)
    const whole = await sessionAfter(model, tokens)
    const pieces = model.createSession()
    for (const token of tokens) await pieces.append([token])
    expect(pieces.save()).toEqual(whole.save())
    expect(whole.clone().save()).toEqual(whole.save())
  })

  test('is restored from bytes in any buffer, such as a Node Buffer or shared memory, without changing them', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    const session = await sessionAfter(model, tokens.slice(0, 40))
    const saved = session.save()
    const expected = await session.append(tokens.slice(40))
    for (const offset of [0, 1, 2, 4, 7]) {
      const buffer = Buffer.alloc(saved.length + 16, 0xaa)
      buffer.set(saved, offset)
      const shared = new Uint8Array(new SharedArrayBuffer(saved.length + 16))
      shared.set(saved, offset)
      for (const bytes of [buffer, new Uint8Array(buffer), shared]) {
        const view = bytes.subarray(offset, offset + saved.length)
        const restored = model.restoreSession(view)
        expect(new Uint8Array(view)).toEqual(saved)
        view.fill(0xff) // nothing is kept of it
        expect(await restored.append(tokens.slice(40)), `${bytes.constructor.name} at ${offset}`).toEqual(expected)
      }
    }
  })

  test('and its clone are independent', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    for (const length of [0, 5, 7, 30]) {
      const session = await sessionAfter(model, tokens.slice(0, length))
      const [first, second] = [session.clone(), session.clone()]
      const start = tokens.slice(0, length)
      const [a, b] = await Promise.all([first.append(others.slice(0, 20)), session.append(tokens.slice(length, length + 20))])
      expect(a).toEqual(await logitsAfter(model, [...start, ...others.slice(0, 20)]))
      expect(b).toEqual(await logitsAfter(model, tokens.slice(0, length + 20)))
      session.dispose()
      first.dispose()
      expect(second.position).toBe(length)
      expect(await second.append(others.slice(20))).toEqual(await logitsAfter(model, [...start, ...others.slice(20)]))
    }
  })

  test('does not change earlier results, or what its clone repeats, as it continues token by token', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    const session = await sessionAfter(model, tokens.slice(0, 10))
    const given: Float32Array[] = []
    const clones: Session[] = []
    for (const token of tokens.slice(10, 30)) {
      given.push(await session.append([token]))
      clones.push(session.clone())
    }
    for (const [i, logits] of given.entries()) {
      expect(logits).toEqual(await logitsAfter(model, tokens.slice(0, 11 + i)))
      expect(await clones[i]!.append([])).toEqual(logits)
    }
  })

  test('reports save, clone, position and byteLength for the last settled append while another is pending', async () => {
    using runtime = openRuntime('baseline', 2)
    const model = await loadSmallModel(runtime, config)
    // lengths that fit the state, close windows, and move the local buffer on
    for (const [length, more] of [
      [0, 40],
      [3, 2],
      [10, 3],
      [13, 1],
      [20, 44],
      [33, 5],
    ] as const) {
      const start = tokens.slice(0, length)
      const rest = tokens.slice(length, length + more)
      const twin = await sessionAfter(model, start)
      const [saved, bytes] = [twin.save(), twin.byteLength]
      const expected = await logitsAfter(model, [...start, ...rest])
      const continuation = await logitsAfter(model, [...start, ...others])
      const measured = await sessionAfter(model, start)
      const runs = await countRuns(runtime, () => measured.append(rest))
      for (let nth = 1; nth <= runs; nth += 1 + Math.floor(runs / 8)) {
        const session = await sessionAfter(model, start)
        const clones: Session[] = []
        const undo = afterRun(runtime, nth, () => {
          expect(session.position).toBe(length)
          expect(session.byteLength).toBe(bytes)
          expect(session.save()).toEqual(saved)
          clones.push(session.clone(), model.restoreSession(session.save()))
        })
        expect(await session.append(rest)).toEqual(expected)
        undo()
        expect(session.position).toBe(length + more)
        expect(clones).toHaveLength(nth < runs ? 2 : clones.length)
        for (const clone of clones) {
          expect(clone.position).toBe(length)
          expect(await clone.append(others)).toEqual(continuation)
          clone.dispose()
        }
        session.dispose()
      }
    }
  })

  test('keeps its last 16 ids, however they were appended, cloned, saved and restored, and none of failed appends', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    let session = model.createSession()
    expect(session.recentIds).toEqual(new Int32Array(0))
    expect(model.restoreSession(session.save()).recentIds).toEqual(new Int32Array(0))
    for (const [i, size] of [1, 1, 5, 8, 1, 1, 0, 20, 1, 16, 3].entries()) {
      const aborted = new AbortController()
      const undo = afterRun(runtime, 1, () => aborted.abort('enough'))
      const outcome = await outcomeOf(session.append(others.slice(0, 30), { signal: aborted.signal }))
      undo()
      expect(outcome).toEqual({ reason: 'enough' })
      await session.append(tokens.slice(session.position, session.position + size))
      const expected = Int32Array.from(tokens.slice(Math.max(0, session.position - 16), session.position))
      const clone = session.clone()
      expect(session.recentIds).toEqual(expected)
      const restored = model.restoreSession(session.save())
      session.recentIds.fill(0) // a copy
      for (const same of [session, clone, restored]) expect(same.recentIds).toEqual(expected)
      await clone.append([1, 2])
      expect(session.recentIds).toEqual(expected)
      session = i % 2 ? restored : session
    }
    expect(session.position).toBe(57)
  })

  test('handles overlapping appends in the order of the calls', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    const session = model.createSession()
    const appends = [20, 1, 0, 1, 30, 12].map((size, i, sizes) => {
      const start = sizes.slice(0, i).reduce((sum, length) => sum + length, 0)
      return { end: start + size, logits: session.append(tokens.slice(start, start + size)) }
    })
    expect(session.position).toBe(0)
    for (const { end, logits } of appends) expect(await logits).toEqual(await logitsAfter(model, tokens.slice(0, end)))
    expect(session.position).toBe(64)
  })

  test('is unchanged after an append that failed, to the bit', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, { ...config, max_positions: 80 })
    for (const length of [0, 7, 10, 25, 34]) {
      const start = tokens.slice(0, length)
      const twin = await sessionAfter(model, start)
      const session = await sessionAfter(model, start)
      for (const bad of [
        [-1],
        [1, V],
        [0.5],
        [NaN],
        ['3'],
        [null],
        [, 1],
        null,
        undefined,
        '12',
        5,
        {},
        new Float32Array(2),
        new BigInt64Array(2),
        new DataView(new ArrayBuffer(8)),
      ]) {
        await expectRejects(session.append(bad as never), 'BAD_ARGUMENT', /token id/)
      }
      for (const options of [null, 5, { signal: null }, { signal: {} }])
        await expectRejects(session.append([1], options as never), 'BAD_ARGUMENT')
      await expectRejects(session.append(randomTokens(81 - length, V)), 'BAD_ARGUMENT', /80 positions/)
      const reason = new Error('enough')
      expect(await outcomeOf(session.append([1], { signal: AbortSignal.abort(reason) }))).toEqual({ reason })
      expect(session.position).toBe(length)
      expect(session.save()).toEqual(twin.save())
      expect(await session.append(others.slice(0, 46))).toEqual(await twin.append(others.slice(0, 46)))
    }
  })

  test('is unchanged to the bit after an append that was aborted anywhere, and later appends succeed', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    for (const [length, more] of [
      [0, 30],
      [3, 2],
      [8, 5],
      [20, 1],
      [25, 39],
    ] as const) {
      const start = tokens.slice(0, length)
      const rest = tokens.slice(length, length + more)
      const expected = await logitsAfter(model, [...start, ...others])
      const saved = (await sessionAfter(model, start)).save()
      const measured = await sessionAfter(model, start)
      const runs = await countRuns(runtime, () => measured.append(rest))
      for (let nth = 1; nth <= runs; nth += 1 + Math.floor(runs / 12)) {
        const session = await sessionAfter(model, start)
        const controller = new AbortController()
        const reason = { stop: nth }
        const undo = afterRun(runtime, nth, () => controller.abort(reason))
        const aborted = outcomeOf(session.append(rest, { signal: controller.signal }))
        const next = session.append(others)
        const outcome = await aborted
        undo()
        if ('value' in outcome) {
          // The last token had been read: then it counts as read.
          expect(nth).toBeGreaterThan(runs - 3)
          expect(await next).toEqual(await logitsAfter(model, [...start, ...rest, ...others]))
        } else {
          expect(outcome.reason).toBe(reason)
          expect(await next).toEqual(expected)
          expect(session.position).toBe(length + others.length)
        }
        session.dispose()

        // A session that is saved instead of going on has not moved either.
        const quiet = await sessionAfter(model, start)
        const again = new AbortController()
        const undoAgain = afterRun(runtime, nth, () => again.abort(reason))
        if ('reason' in (await outcomeOf(quiet.append(rest, { signal: again.signal })))) expect(quiet.save()).toEqual(saved)
        undoAgain()
        quiet.dispose()
      }
    }
  })

  test('aborted while an append waits for its turn skips that append', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    const session = model.createSession()
    const controller = new AbortController()
    const first = session.append(tokens)
    const waiting = [tokens, [1], []].map((ids) => outcomeOf(session.append(ids, { signal: controller.signal })))
    const last = session.append(others)
    controller.abort('too late')
    await first
    expect(await Promise.all(waiting)).toEqual([{ reason: 'too late' }, { reason: 'too late' }, { reason: 'too late' }])
    expect(await last).toEqual(await logitsAfter(model, [...tokens, ...others]))
  })

  test('is not disturbed by other sessions, forwards, evaluations and generations at the same time', async () => {
    using runtime = openRuntime('baseline', 2)
    const model = await loadSmallModel(runtime, config)
    const written = async () => {
      const ids: number[] = []
      for await (const { id } of model.generate(others, { maxTokens: 12, seed: 3 })) ids.push(id)
      return ids
    }
    const alone = {
      a: await logitsAfter(model, tokens),
      b: await logitsAfter(model, others),
      forward: await model.forward(others),
      evaluation: await model.evaluate(tokens, { chunk: 10 }),
      written: await written(),
    }
    const [a, b] = [model.createSession(), model.createSession()]
    const stepwise = async () => {
      let logits: Float32Array | undefined
      for (const token of tokens) logits = await a.append([token])
      return logits
    }
    const together = await Promise.all([
      stepwise(),
      b.append(others),
      model.forward(others),
      model.evaluate(tokens, { chunk: 10 }),
      written(),
      model.forward([]),
    ])
    expect(together.slice(0, 5)).toEqual([alone.a, alone.b, alone.forward, alone.evaluation, alone.written])
  })

  test('copies results and arguments: modifying them afterwards changes nothing', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    const expected = await logitsAfter(model, tokens)
    const session = model.createSession()
    const ids = [...tokens]
    const typed = Int32Array.from(tokens)
    const pending = [session.append(ids), model.forward(typed), model.forward(ids)] as const
    const evaluating = model.evaluate(typed)
    ids.fill(0)
    typed.fill(0)
    expect(await pending[0]).toEqual(expected)
    const whole = await model.forward(tokens)
    expect(await pending[1]).toEqual(whole)
    expect(await pending[2]).toEqual(whole)
    expect(await evaluating).toEqual(await model.evaluate(tokens))
    const logits = await session.append([])
    logits.fill(NaN)
    whole.data.fill(NaN)
    const saved = session.save()
    const kept = saved.slice()
    saved.fill(0)
    expect(session.save()).toEqual(kept)
    expect(await session.append([])).toEqual(expected)
  })

  test('reports in byteLength the memory that it uses, and releases it', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    const used = () => runtime.info.memory.used
    const warm = await sessionAfter(model, tokens) // what the model itself works in
    const before = used()
    const session = model.createSession()
    expect(session.byteLength).toBe(used() - before)
    if (config.causal) expect(session.byteLength).toBeGreaterThan(0)
    for (const token of tokens) {
      await session.append([token])
      expect(session.byteLength).toBe(used() - before)
    }
    const clone = session.clone()
    expect(clone.byteLength + session.byteLength).toBe(used() - before)
    const restored = model.restoreSession(session.save())
    expect(restored.byteLength + clone.byteLength + session.byteLength).toBe(used() - before)
    for (const each of [session, clone, restored]) each.dispose()
    expect(session.byteLength).toBe(0)
    expect(used()).toBe(before)
    warm.dispose()
  })

  test('is unusable after dispose, which may be called twice', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, config)
    const session = await sessionAfter(model, tokens)
    const saved = session.save()
    session.dispose()
    session.dispose()
    session[Symbol.dispose]()
    await expectRejects(session.append([1]), 'DISPOSED', /session/)
    await expectRejects(session.append([]), 'DISPOSED')
    expectThrows(() => session.save(), 'DISPOSED')
    expectThrows(() => session.clone(), 'DISPOSED')
    expect(await model.restoreSession(saved).append(others)).toEqual(await logitsAfter(model, [...tokens, ...others]))
  })

  test.each(['session', 'model', 'runtime'] as const)(
    'completes or rejects with DISPOSED when its %s is disposed of during appends',
    async (what) => {
      const expected = await (async () => {
        using runtime = openRuntime('baseline')
        return await logitsAfter(await loadSmallModel(runtime, config), tokens)
      })()
      for (let nth = 1; nth <= 30; nth += 3) {
        const runtime = openRuntime('baseline')
        const start = runtime.info.memory.used
        const model = await loadSmallModel(runtime, config)
        const session = model.createSession()
        const owner = { session, model, runtime }[what]
        afterRun(runtime, nth, () => void owner.dispose())
        const appends = [session.append(tokens), session.append([]), session.append(others)].map(outcomeOf)
        const outcomes = await Promise.all(appends)
        for (const outcome of outcomes.slice(0, 2)) {
          if ('value' in outcome) expect(outcome.value).toEqual(expected)
          else expect(outcome.reason).toMatchObject({ name: 'RoutedAttentionError', code: 'DISPOSED' })
        }
        await runtime.dispose()
        expect(runtime.info.memory.used).toBeLessThanOrEqual(start)
        await expectRejects(session.append([1]), 'DISPOSED')
        await expectRejects(model.forward([1]), 'DISPOSED')
      }
    },
  )
})
