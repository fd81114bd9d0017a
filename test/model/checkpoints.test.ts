/** Checkpoints as people have them: wrapped, tied, with the published Transformer's names and buffers. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { RoutedAttentionError } from '../../src/errors.js'
import { createRuntime, LanguageModel, MixtureOfAutoregressiveAttention, readSafetensors, type Runtime, Tensor } from '../../src/index.js'
import { expectSameBits } from '../support/bits.js'
import { expectRejects } from '../support/errors.js'
import { causalConfig, randomTokens, smallModel } from '../support/small-models.js'
import { type Entry, float32Entry, writeSafetensors } from '../support/write-safetensors.js'

let runtime: Runtime
beforeAll(async () => void (runtime = await createRuntime({ threads: 1 })))
afterAll(() => runtime.dispose())

const noRotary = without('routed_rotary_emb', causalConfig)
const ids = randomTokens(60, causalConfig.num_tokens)
const prefixes = ['net.', 'module.', '_orig_mod.', 'module._orig_mod.net.', 'my/model/', 'x']

/** A model's tensors as a file holds them. */
function entriesOf(config: Record<string, unknown> = causalConfig): Record<string, Entry> {
  return Object.fromEntries(
    [...smallModel(config).parameters].map(([name, { data, shape }]) => [name, float32Entry(Array.from(data), [...shape])]),
  )
}

function prefixed<T>(prefix: string, record: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [prefix + name, value]))
}

function without<T extends object>(name: string, record: T): T {
  return Object.fromEntries(Object.entries(record).filter(([key]) => key !== name)) as T
}

const encode = (json: unknown) => new TextEncoder().encode(JSON.stringify(json))

function load(entries: Record<string, Entry>, config: Record<string, unknown> = causalConfig, metadata?: Record<string, string>) {
  const files = new Map([
    ['config.json', encode(config)],
    ['model.safetensors', writeSafetensors(entries, metadata)],
  ])
  return LanguageModel.load(files, { runtime })
}

/** The same in shards, every so many tensors, in the order of their names. */
function loadShards(
  entries: Record<string, Entry>,
  {
    index = {},
    shards = {},
    weightMap = {},
  }: { index?: Record<string, string>; shards?: Record<string, string>; weightMap?: Record<string, string> },
) {
  const names = Object.keys(entries).sort()
  const shardOf = (name: string) => `${names.indexOf(name) % 3}.safetensors`
  const files = new Map<string, Uint8Array>([
    ['config.json', encode(causalConfig)],
    [
      'model.safetensors.index.json',
      encode({ metadata: index, weight_map: { ...Object.fromEntries(names.map((name) => [name, shardOf(name)])), ...weightMap } }),
    ],
  ])
  for (const shard of new Set(names.map(shardOf))) {
    const held = names.filter((name) => shardOf(name) === shard).map((name) => [name, entries[name]!] as const)
    files.set(shard, writeSafetensors(Object.fromEntries(held), shards))
  }
  return LanguageModel.load(files, { runtime })
}

/** Logits, and the model is let go of. */
async function logitsOf(loading: Promise<LanguageModel>): Promise<Tensor> {
  const model = await loading
  try {
    return await model.forward(ids)
  } finally {
    model.dispose()
  }
}

async function rejection(promise: Promise<unknown>): Promise<RoutedAttentionError> {
  return promise.then(
    () => Promise.reject(new Error('it was not rejected')),
    (error: unknown) => error as RoutedAttentionError,
  )
}

describe('names with one prefix', () => {
  test.each(prefixes)('%s load, in one file and in shards', async (prefix) => {
    const expected = await logitsOf(load(entriesOf()))
    expectSameBits(await logitsOf(load(prefixed(prefix, entriesOf()))), expected)
    expectSameBits(await logitsOf(loadShards(prefixed(prefix, entriesOf()), {})), expected)
  })

  test('load with the buffers of PyTorch, which have it too', async () => {
    const buffers = { 'rotary_emb.inv_freq': float32Entry([1]), 'layers.0.0.local_attn.attn_fn.rel_pos.inv_freq': float32Entry([1]) }
    expectSameBits(await logitsOf(load(prefixed('net.', { ...entriesOf(), ...buffers }))), await logitsOf(load(entriesOf())))
  })

  test('are the same model to a session', async () => {
    const [plain, wrapped] = [await load(entriesOf()), await load(prefixed('net.', entriesOf()))]
    const session = plain.createSession()
    await session.append(ids)
    expect(wrapped.restoreSession(session.save()).position).toBe(ids.length)
    plain.dispose()
    wrapped.dispose()
  })

  test('load into a layer, also out of a whole model', async () => {
    const sizes = { dim: 6, heads: 2, dimHead: 4, numRoutedQueries: 2, numRoutedKeyValues: 3, localAttnWindowSize: 4 }
    const [layer, other] = [1, 2].map((seed) => new MixtureOfAutoregressiveAttention(runtime, sizes, { seed })) as [Layer, Layer]
    const x = Tensor.randn([1, 20, 6], 3)
    const entries = parametersOf(sizes)
    for (const prefix of ['', ...prefixes, 'layers.0.0.']) {
      other.loadStateDict(prefixed(prefix, entries))
      layer.loadStateDict(new Map(Object.entries(entries)))
      expectSameBits(await other.forward(x), await layer.forward(x))
    }
    layer.dispose()
    other.dispose()
  })

  test('are recognized by the names of their parameters if something is missing, and the message names the prefix', async () => {
    const wrapped = prefixed('net.', { ...without('token_emb.weight', entriesOf()), 'head.scale': float32Entry([1]) })
    const error = await rejection(load(wrapped))
    expect(error).toMatchObject({ code: 'BAD_WEIGHTS', names: ['token_emb.weight', 'head.scale'] })
    expect(error.message).toMatch(
      /without "net\.", which stands in front of all its names\): 1 missing: token_emb\.weight .*; 1 unexpected: head\.scale$/,
    )
  })

  test('on only some names is pointed out', async () => {
    const wrapped = { ...prefixed('net.', entriesOf()), step: float32Entry([1]) }
    const count = Object.keys(entriesOf()).length
    const error = await rejection(load(wrapped))
    expect(error.code).toBe('BAD_WEIGHTS')
    expect(error.names).toEqual([...Object.keys(entriesOf()), ...Object.keys(wrapped)])
    expect(error.message).toMatch(new RegExp(`${count} missing: .* and ${count - 20} more; `))
    expect(error.message).toMatch(new RegExp(`${count + 1} unexpected: .* and ${count + 1 - 20} more; `))
    expect(error.message).toMatch(
      new RegExp(`${count} of the missing ones are present under "net\\.": keep only the names that begin with it$`),
    )
  })
})

type Layer = MixtureOfAutoregressiveAttention

/** A state dict for a layer, all ones and twos. */
function parametersOf(sizes: ConstructorParameters<typeof MixtureOfAutoregressiveAttention>[1]): Record<string, Tensor> {
  const layer = new MixtureOfAutoregressiveAttention(runtime, sizes)
  let missing = ''
  try {
    layer.loadStateDict({})
  } catch (error) {
    missing = (error as Error).message
  }
  layer.dispose()
  return Object.fromEntries(
    [...missing.matchAll(/([a-z_.]+) \[([\d, ]+)\]/g)].map(([, name, shape], at) => [
      name,
      Tensor.randn(shape!.split(', ').map(Number), at),
    ]),
  )
}

describe('tied weights', () => {
  const kept = 'to_logits.1.weight'
  const leftOut = 'token_emb.weight'

  /** A model whose embedding is its head, and the same as `save_model` writes it. */
  function tied(prefix = '') {
    const whole = entriesOf()
    whole[leftOut] = whole[kept]!
    return { whole, stored: prefixed(prefix, without(leftOut, whole)), noted: { [prefix + leftOut]: prefix + kept } }
  }

  test.each(['', 'net.'])('load from the names that the metadata of the file gives, after the prefix "%s"', async (prefix) => {
    const { whole, stored, noted } = tied(prefix)
    const expected = await logitsOf(load(whole))
    expectSameBits(await logitsOf(load(stored, causalConfig, { format: 'pt', ...noted })), expected)
    expectSameBits(await logitsOf(loadShards(stored, { index: noted })), expected)
    expectSameBits(await logitsOf(loadShards(stored, { shards: noted })), expected)
    expectSameBits(await logitsOf(loadShards(stored, { shards: noted, weightMap: { [prefix + leftOut]: '1.safetensors' } })), expected)
  })

  test('are among what readSafetensors reads', () => {
    const file = writeSafetensors({ b: float32Entry([1, 2]) }, { format: 'pt', a: 'b', b: 'a', c: 'nowhere' })
    expect([...readSafetensors(file)].map(([name, { data }]) => [name, [...data]])).toEqual([
      ['b', [1, 2]],
      ['a', [1, 2]],
    ])
  })

  test('that the metadata does not give, or gives a missing name, are missing', async () => {
    const { stored } = tied()
    await expectRejects(load(stored), 'BAD_WEIGHTS', /1 missing: token_emb\.weight/)
    await expectRejects(load(stored, causalConfig, { [leftOut]: 'nowhere' }), 'BAD_WEIGHTS', /1 missing: token_emb\.weight/)
    await expectRejects(loadShards(stored, { weightMap: { [leftOut]: '0.safetensors' } }), 'BAD_FILE', /puts 1 tensors in 0\.safetensors/)
  })
})

describe('the buffer of rotary embeddings', () => {
  const buffer = { 'rotary_emb.inv_freq': float32Entry([1]) }

  test('is rejected if config.json does not state its kind', async () => {
    for (const prefix of ['', 'net.']) {
      const error = await rejection(load(prefixed(prefix, { ...entriesOf(), ...buffer }), noRotary))
      expect(error.code).toBe('BAD_CONFIG')
      expect(error.message).toContain(`"routed_rotary_emb": true`)
    }
  })

  test('is ignored if it does, and may be missing', async () => {
    for (const stated of [true, false]) {
      const config = { ...noRotary, routed_rotary_emb: stated }
      expectSameBits(await logitsOf(load({ ...entriesOf(), ...buffer }, config)), await logitsOf(load(entriesOf(), config)))
    }
    expectSameBits(
      await logitsOf(load(entriesOf(), noRotary)),
      await logitsOf(load(entriesOf(), { ...noRotary, routed_rotary_emb: false })),
    )
  })
})

test('a model lists what its config.json omits', async () => {
  const model = await load(entriesOf())
  expect(model.assumed).toEqual({
    prenorm: true,
    average_routed: false,
    cosine_sim_scale: 8,
    n_iters: 20,
    fetch_k_ratio: 9 / 8,
    eps: 0.03,
    eps_init: 4,
    eps_decay: 0.7,
    straight_through: true,
  })
  expect(Object.isFrozen(model.assumed)).toBe(true)
  model.dispose()
})

test('seq_len is the length of the position table', async () => {
  const withTable = { ...causalConfig, max_positions: 80 }
  const model = await load(entriesOf(withTable), { ...without('max_positions', withTable), seq_len: 80 })
  expect(model.config.maxPositions).toBe(80)
  expect(model.assumed).not.toHaveProperty('max_positions')
  expectSameBits(await model.forward(ids), await logitsOf(load(entriesOf(withTable), withTable)))
  model.dispose()
})
