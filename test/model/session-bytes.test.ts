import { describe, expect, test, vi } from 'vitest'
import { LanguageModel } from '../../src/model/language-model.js'
import { decodeSession, type SavedSession } from '../../src/model/session-bytes.js'
import { createRandom } from '../../src/random.js'
import { expectRejects, expectThrows } from '../support/errors.js'
import { encode, forge, moveOn, openSession, positionBytes } from '../support/forged-sessions.js'
import { openRuntime } from '../support/runtimes.js'
import { causalConfig, loadSmallModel, publishedConfig, smallModel, smallModelFiles } from '../support/small-models.js'
import { V, tokens, others, kinds, sessionAfter } from '../support/session-cases.js'

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
    const refuses = (forged: Partial<SavedSession>) => made.refuses(encode(fingerprint, { ...honest, ...forged }), /./)
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
