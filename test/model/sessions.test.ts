import { describe, expect, test, vi } from 'vitest'
import { createRuntime } from '../../src/device/create-runtime.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { decodeSession, encodeSession, type SavedSession } from '../../src/model/session-bytes.js'
import type { Session } from '../../src/model/session.js'
import { createRandom } from '../../src/random.js'
import { expectSameBits } from '../support/bits.js'
import { largestDifference } from '../support/compare.js'
import { expectRejects, expectThrows } from '../support/errors.js'
import { forge, moveOn, openSession, positionBytes } from '../support/forged-sessions.js'
import { afterRun, countRuns, outcomeOf } from '../support/interruptions.js'
import { loadNovels, novelsGolden } from '../support/models.js'
import { openRuntime } from '../support/runtimes.js'
import {
  causalConfig,
  loadSmallModel,
  partlyRoutedConfig,
  publishedConfig,
  randomTokens,
  smallModel,
  smallModelFiles,
} from '../support/small-models.js'

const V = causalConfig.num_tokens
const tokens = randomTokens(64, V)
const others = randomTokens(64, V, 2)
const kinds = [
  ['strictly causal', causalConfig],
  ['partly routed', partlyRoutedConfig],
  ['published', publishedConfig],
] as const

/** Logits after the last of `ids`, by a forward of their own. */
async function logitsAfter(model: LanguageModel, ids: number[]): Promise<Float32Array> {
  return (await model.forward(ids)).data.slice(-V)
}

async function sessionAfter(model: LanguageModel, ids: number[]): Promise<Session> {
  const session = model.createSession()
  if (ids.length > 0) await session.append(ids)
  return session
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

describe('the bytes of a session', () => {
  async function setUp() {
    const runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, causalConfig)
    const session = await sessionAfter(model, tokens.slice(0, 24))
    const saved = session.save()
    session.dispose()
    const used = runtime.info.memory.used
    return {
      saved,
      model,
      refuses: (bytes: Uint8Array, message = /these \d+ bytes are not a session of this model/) =>
        expectThrows(() => model.restoreSession(bytes), 'BAD_FILE', message),
      [Symbol.dispose]: () => {
        expect(runtime.info.memory.used).toBe(used)
        void runtime.dispose()
      },
    }
  }

  test('are rejected when any one of them is altered', async () => {
    using made = await setUp()
    const random = createRandom(1)
    const { saved } = made
    for (let at = 0; at < saved.length; at++) {
      const altered = saved.slice()
      altered[at]! ^= 1 + Math.floor(random.uniform() * 255)
      made.refuses(altered)
    }
  })

  test('are rejected when some are missing, at the end, at the beginning or between', async () => {
    using made = await setUp()
    const { saved } = made
    for (let length = 0; length < saved.length; length += length < 80 ? 1 : 13) {
      made.refuses(saved.slice(0, length))
      made.refuses(saved.slice(saved.length - length))
      made.refuses(new Uint8Array(Buffer.concat([saved.subarray(0, length), saved.subarray(length + 1)])))
    }
  })

  test('are rejected when some were added or changed places', async () => {
    using made = await setUp()
    const { saved } = made
    for (const more of [new Uint8Array(1), new Uint8Array(4), new Uint8Array(16), new Uint8Array(1000), saved]) {
      made.refuses(new Uint8Array(Buffer.concat([saved, more])))
      made.refuses(new Uint8Array(Buffer.concat([more, saved])), /not a session|contradicts|checksum/)
      made.refuses(new Uint8Array(Buffer.concat([saved.subarray(0, 500), more, saved.subarray(500)])))
    }
    const random = createRandom(2)
    for (let i = 0; i < 500; i++) {
      const [a, b] = [random, random].map((source) => 4 * Math.floor((source.uniform() * saved.length) / 4)) as [number, number]
      const swapped = saved.slice()
      swapped.set(saved.subarray(a, a + 4), b)
      swapped.set(saved.subarray(b, b + 4), a)
      if (!Buffer.from(swapped).equals(saved)) made.refuses(swapped)
    }
  })

  test('of another version are reported as such', async () => {
    using made = await setUp()
    const { saved } = made
    saved[6] = 1
    made.refuses(saved, /version 1 .* version 3/)
  })

  test('of other models are rejected: other weights, another configuration, another routing', async () => {
    using made = await setUp()
    using runtime = openRuntime('baseline')
    const onlyWeights = smallModel(causalConfig)
    const bias = onlyWeights.parameters.get('to_logits.1.bias')!
    bias.data[22] = bias.data[22]! + 2 ** -20
    const strangers = [
      await LanguageModel.load(smallModelFiles(onlyWeights), { runtime }),
      await loadSmallModel(runtime, { ...causalConfig, num_routed_queries: 4 }),
      await loadSmallModel(runtime, { ...causalConfig, cosine_sim_scale: 4 }),
      await loadSmallModel(runtime, { ...causalConfig, routed_rotary_emb: false }),
      await loadSmallModel(runtime, publishedConfig),
    ]
    for (const stranger of strangers) {
      made.refuses((await sessionAfter(stranger, tokens.slice(0, 24))).save(), /another model/)
      made.refuses(stranger.createSession().save(), /another model/)
      expectThrows(() => stranger.restoreSession(made.saved), 'BAD_FILE', /another model/)
    }
  })

  test('of the same files are those of the same model, however config.json spells what it leaves to defaults', async () => {
    using made = await setUp()
    using runtime = openRuntime('relaxed', 4)
    const spelled: Record<string, unknown> = {
      ...causalConfig,
      model_type: 'anything',
      use_triton: true,
      dropout: 0.1,
      prenorm: true,
      unheard_of: [1],
    }
    delete spelled.max_positions
    const same = await loadSmallModel(runtime, spelled)
    expect(same.restoreSession(made.saved).position).toBe(24)
  })

  test('whose checksum matches but whose header contradicts itself are rejected', async () => {
    using made = await setUp()
    const fingerprint = made.saved.slice(8, 24)
    const honest = decodeSession(made.saved, { fingerprint, numTokens: V, maxPositions: null })
    const { sequence } = honest
    const refuses = (forged: Partial<SavedSession>) => made.refuses(encodeSession(fingerprint, { ...honest, ...forged }), /./)
    for (const position of [-1, 0.5, NaN, Infinity, 2 ** 53, 0, 23, 25, 2 ** 52]) refuses({ position })
    for (const length of [0, 1, V - 1, V + 1]) refuses({ logits: length === 0 ? undefined : new Float32Array(length) })
    for (const length of [0, 1, 4, sequence.length - 4, sequence.length - 1]) refuses({ sequence: sequence.slice(0, length) })
    for (const length of [0, 1, 15, 17, 24]) refuses({ recentIds: new Int32Array(length) })
    for (const id of [-1, V, 2 ** 31 - 1, -(2 ** 31)])
      refuses({ recentIds: Int32Array.from(honest.recentIds, (was, i) => (i === 7 ? id : was)) })
  })

  test.each(kinds)('of a %s model that claim a position beyond max_positions are rejected, even if consistent', async (_kind, config) => {
    using runtime = openRuntime('checked-baseline')
    const model = await loadSmallModel(runtime, { ...config, max_positions: 60 })
    const saved = (await sessionAfter(model, tokens.slice(0, 49))).save()
    // after whole windows, the contexts full, a strictly causal session holds as much at any position
    for (const position of [63, 70, 49 + 7 * 1000, 49 + 7 * 300_000_000, 49 + 7 * 2 ** 49]) {
      const forged = config.causal
        ? moveOn(saved, config, position - 49)
        : forge(saved, config, { position, sequence: new Uint8Array(4 * Math.min(position, 1000)) })
      expectThrows(() => model.restoreSession(forged), 'BAD_FILE', new RegExp(`position is ${position}, .* 60 \\(max_positions\\)`))
    }
    if (!config.causal) return
    const fits = model.restoreSession(moveOn(saved, config, 7))
    await fits.append([1, 2, 3, 4])
    await expectRejects(fits.append([5]), 'BAD_ARGUMENT', /max_positions/)
  })

  test('that claim more than they hold are rejected before anything is planned or allocated for it', async () => {
    using runtime = openRuntime('baseline')
    const wide = { ...causalConfig, local_attn_window_size: 2 ** 20, routed_window_size: 2 ** 20, num_routed_key_values: 2 ** 22 }
    const model = await loadSmallModel(runtime, wide)
    const saved = (await sessionAfter(model, [1])).save()
    const allocate = vi.spyOn(runtime.device, 'allocate')
    const compile = vi.spyOn(runtime.device, 'compile')
    for (const position of [0, 2, 2000, 2 ** 20, 2 ** 20 + 1, 3_000_000, 2 ** 40 + 1, Number.MAX_SAFE_INTEGER]) {
      const forged = forge(saved, wide, { position, recentIds: new Int32Array(Math.min(16, position)) })
      expectThrows(() => model.restoreSession(forged), 'BAD_FILE')
    }
    expect(allocate).not.toHaveBeenCalled()
    expect(compile).not.toHaveBeenCalled()
  })

  test('may claim any position up to the largest exact integer, and their session continues up to there', async () => {
    using runtime = openRuntime('checked-baseline')
    const model = await loadSmallModel(runtime, causalConfig)
    const saved = (await sessionAfter(model, tokens.slice(0, 49))).save()
    const position = 7 * Math.floor((Number.MAX_SAFE_INTEGER - 20) / 7)
    const far = model.restoreSession(moveOn(saved, causalConfig, position - 49))
    const room = Number.MAX_SAFE_INTEGER - position
    await expectRejects(far.append(tokens.slice(0, room + 1)), 'BAD_ARGUMENT', /counted/)
    for (let i = 0; i < room; i++) await far.append([i % V])
    expect(model.restoreSession(far.save()).position).toBe(Number.MAX_SAFE_INTEGER)
    await expectRejects(far.append([1]), 'BAD_ARGUMENT', /counted/)
  })

  test('may hold any floats: reading on gives logits or an error, within its memory, and affects no other session', async () => {
    using runtime = openRuntime('checked-baseline', 2)
    const model = await loadSmallModel(runtime, causalConfig)
    const saved = (await sessionAfter(model, tokens.slice(0, 40))).save()
    const { sequence } = openSession(saved, causalConfig)
    const other = await sessionAfter(model, others.slice(0, 40))
    const before = other.save()
    const random = createRandom(4)
    // positions are checked, floats are not
    const positions = positionBytes(saved, causalConfig)
    const words = (word: (index: number) => number) => {
      const floats = Uint32Array.from({ length: (sequence.length - positions) / 4 }, (_, i) => word(i))
      return new Uint8Array(Buffer.concat([sequence.subarray(0, positions), new Uint8Array(floats.buffer)]))
    }
    const anyBits = () => Math.floor(random.uniform() * 2 ** 32)
    const special = [0x7fc00000, 0xffc00000, 0x7f800000, 0xff800000, 0x7f7fffff, 0x80000000, 1, 0xffffffff, 0x7f800001]
    for (const state of [
      ...special.map((bits) => words(() => bits)),
      ...special.map((bits) => words((i) => (i % 3 ? 0x3f800000 : bits))),
    ]) {
      const forged = model.restoreSession(forge(saved, causalConfig, { sequence: state }))
      for (const size of [1, 1, 20, 30]) expect(await forged.append(tokens.slice(0, size))).toHaveLength(V)
      forged.dispose()
    }
    for (let round = 0; round < 20; round++) {
      const forged = model.restoreSession(forge(saved, causalConfig, { sequence: words(anyBits) }))
      for (const size of [1, 1, 20, 30]) expect(await forged.append(tokens.slice(0, size))).toHaveLength(V)
      forged.dispose()
    }
    expect(other.save()).toEqual(before)
  })

  test('must be bytes', async () => {
    using made = await setUp()
    const { saved, model } = made
    for (const bad of [
      null,
      undefined,
      5,
      'RTATTN',
      [...saved],
      saved.buffer,
      new Int8Array(saved.buffer),
      new Uint8ClampedArray(saved),
      new DataView(saved.buffer),
      {},
    ]) {
      expectThrows(() => model.restoreSession(bad as never), 'BAD_ARGUMENT', /Uint8Array/)
    }
  })

  test('of a full-sequence model hold its tokens, and cannot hold other ones', async () => {
    using runtime = openRuntime('baseline')
    const model = await loadSmallModel(runtime, publishedConfig)
    const saved = (await sessionAfter(model, tokens)).save()
    for (let at = 0; at < saved.length; at++) {
      const altered = saved.slice()
      altered[at]! ^= 0x10
      expectThrows(() => model.restoreSession(altered), 'BAD_FILE')
    }
    const sequence = new Uint8Array(Int32Array.from([...tokens.slice(1), V]).buffer)
    expectThrows(() => model.restoreSession(forge(saved, publishedConfig, { sequence })), 'BAD_FILE')
  })
})

describe('novels-10m', () => {
  const ids = novelsGolden().inputIds.slice(0, 300)

  test('gives the same bits however its text is split, on real threads or one, restored in between', async () => {
    await using alone = await createRuntime({ threads: 1, simd: 'baseline' })
    await using pooled = await createRuntime({ threads: 2, simd: 'baseline' })
    const models = await Promise.all([alone, pooled].map(loadNovels))
    const [one, two] = models as [LanguageModel, LanguageModel]
    const expected = (await one.forward(ids)).data.slice(-4096)
    let session = two.createSession()
    for (const [i, length] of [1, 126, 1, 1, 100, 27, 1, 43].entries()) {
      const logits = await session.append(ids.slice(session.position, session.position + length))
      if (session.position === 300) expect(logits).toEqual(expected)
      session = models[i % 2]!.restoreSession(session.save())
    }
    expect(session.position).toBe(300)
    expect(await session.append([])).toEqual(expected)
  }, 60_000)

  test('on real threads keeps sessions, forwards and evaluations independent, and leaves sessions unchanged by aborted appends', async () => {
    await using runtime = await createRuntime({ threads: 2, simd: 'baseline' })
    const model = await loadNovels(runtime)
    const text = ids.slice(0, 160)
    const whole = await model.forward(text)
    const at = (length: number) => whole.data.slice((length - 1) * 4096, length * 4096)
    const evaluation = await model.evaluate(text)
    const [first, second] = [model.createSession(), model.createSession()]
    await first.append(text.slice(0, 100))
    const saved = first.save()
    const controller = new AbortController()
    const begun = new Promise<void>((resolve) => afterRun(runtime, 1, resolve))
    const pending = [
      outcomeOf(first.append(text.slice(100), { signal: controller.signal })),
      first.append(text.slice(100, 110)),
      second.append(text.slice(0, 130)),
      model.forward(text),
      model.evaluate(text),
    ] as const
    await begun
    const clone = first.clone()
    expect(first.position).toBe(100)
    expect(Buffer.compare(first.save(), saved)).toBe(0)
    controller.abort('enough')
    const [aborted, appended, elsewhere, forward, evaluated] = await Promise.all(pending)
    expect([aborted, appended, elsewhere]).toEqual([{ reason: 'enough' }, at(110), at(130)])
    expectSameBits(forward, whole)
    expect(evaluated).toEqual(evaluation)
    expect(await clone.append(text.slice(100, 110))).toEqual(at(110))
    expect(await first.append(text.slice(110))).toEqual(at(160))

    const used = runtime.info.memory.used
    const { byteLength } = second
    const last = second.append(text.slice(130))
    second.dispose()
    const outcome = await outcomeOf(last)
    if ('value' in outcome) expect(outcome.value).toEqual(at(160))
    else expect(outcome.reason).toMatchObject({ code: 'DISPOSED' })
    expect(runtime.info.memory.used).toBe(used - byteLength)
  }, 60_000)
})
