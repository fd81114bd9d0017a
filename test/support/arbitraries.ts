/** Layers, their parameters, inputs and calls, as fast-check draws them: small, and with every option in play. */
import fc from 'fast-check'
import { createRandom, type Random } from '../../src/random.js'
import { Tensor } from '../../src/tensor.js'
import type { LayerOptions } from '../reference/index.js'

/** Options with everything that matters to a test stated. */
export type DrawnOptions = LayerOptions & { routedWindowSize: number; numExperts: number; dimHead: number; heads: number }

export interface DrawnCall {
  readonly batch: number
  readonly length: number
  /** Values are drawn from this seed, not by fast-check: what shrinks is the shape of the case. */
  readonly seed: number
  /** Different tokens that the sequences are made of: with few of them tokens repeat. */
  readonly vocabulary: number
  readonly rotary: 'none' | 'shared' | 'per head'
  readonly overrides: { readonly numRoutedQueries?: number; readonly numRoutedKeyValues?: number }
}

/** A layer and one call of it. */
export interface DrawnCase {
  readonly options: DrawnOptions
  readonly call: DrawnCall
}

const sizes = {
  dim: fc.integer({ min: 1, max: 40 }),
  numRoutedQueries: fc.integer({ min: 1, max: 24 }),
  numRoutedKeyValues: fc.oneof(fc.integer({ min: 1, max: 24 }), fc.integer({ min: 1, max: 140 })),
  localAttnWindowSize: fc.integer({ min: 0, max: 24 }),
  routedWindowSize: fc.integer({ min: 1, max: 20 }),
  numExperts: fc.integer({ min: 1, max: 4 }),
  dimHead: fc.integer({ min: 1, max: 9 }).map((pairs) => 2 * pairs),
  heads: fc.integer({ min: 1, max: 3 }),
}

const routing = {
  prenorm: fc.boolean(),
  cosineSimRouting: fc.boolean(),
  cosineSimScale: fc.constantFrom(8, 0.5, 16, -4),
}

const schedule = {
  averageRouted: fc.boolean(),
  nIters: fc.integer({ min: 1, max: 30 }),
  fetchKRatio: fc.constantFrom(9 / 8, 1, 0.4, 1.7, 3),
  eps: fc.constantFrom(0.03, 0.01, 0.3, 1),
  epsInit: fc.constantFrom(4, 1, 0.02, 9),
  epsDecay: fc.constantFrom(0.7, 0.3, 0.9, 1),
  straightThrough: fc.boolean(),
  selection: fc.constantFrom('coordinate-descent' as const, 'top-k' as const),
}

/** Layers that decide over the whole sequence. */
export const publishedOptions: fc.Arbitrary<DrawnOptions> = fc.record({ ...sizes, ...routing, ...schedule })
/** Strictly causal layers. */
export const causalOptions: fc.Arbitrary<DrawnOptions> = fc.record({
  ...sizes,
  ...routing,
  causal: fc.constant(true),
  selection: fc.constant('top-k' as const),
})
export const anyOptions: fc.Arbitrary<DrawnOptions> = fc.oneof(
  { weight: 2, arbitrary: publishedOptions },
  { weight: 1, arbitrary: causalOptions },
)

const override = fc.option(fc.integer({ min: 1, max: 30 }), { nil: undefined })

export const calls: fc.Arbitrary<DrawnCall> = fc.record({
  batch: fc.integer({ min: 0, max: 3 }),
  length: fc.integer({ min: 0, max: 120 }),
  seed: fc.nat(),
  vocabulary: fc.constantFrom(1000, 3, 12, 40),
  rotary: fc.constantFrom('none' as const, 'shared' as const, 'per head' as const),
  overrides: fc
    .record({ numRoutedQueries: override, numRoutedKeyValues: override })
    .map(({ numRoutedQueries: queries, numRoutedKeyValues: keyValues }) => ({
      ...(queries === undefined ? {} : { numRoutedQueries: queries }),
      ...(keyValues === undefined ? {} : { numRoutedKeyValues: keyValues }),
    })),
})

export function cases(options: fc.Arbitrary<DrawnOptions> = anyOptions): fc.Arbitrary<DrawnCase> {
  return fc.record({ options, call: calls })
}

/** Small layers with windows longer than a chunk (128 tokens), and sequences to fill a few. */
export const longCases: fc.Arbitrary<DrawnCase> = fc
  .record({
    drawn: cases(),
    routedWindowSize: fc.integer({ min: 100, max: 300 }),
    localAttnWindowSize: fc.integer({ min: 0, max: 300 }),
    numRoutedQueries: fc.integer({ min: 1, max: 200 }),
    length: fc.integer({ min: 120, max: 650 }),
    dim: fc.integer({ min: 2, max: 10 }),
  })
  .map(({ drawn: { options, call }, length, dim, ...windows }) => ({
    options: { ...options, ...windows, dim, heads: 1, dimHead: Math.min(options.dimHead, 6), numExperts: Math.min(options.numExperts, 2) },
    call: { ...call, length, batch: 1 },
  }))

/** Names and shapes of SPEC section 1, written down a second time. */
export function parameterShapes(options: DrawnOptions): Map<string, number[]> {
  const { dim, numExperts, heads, dimHead, prenorm = true } = options
  const inner = heads * dimHead
  const shapes: Record<string, number[]> = {
    null_tokens: [numExperts, dim],
    'local_attn.to_qkv.weight': [3 * inner, dim],
    'local_attn.to_out.weight': [dim, inner],
    'query_router.routing_token': [numExperts, dim],
    'key_value_router.routing_token': [numExperts, dim],
    'attn.null_kv': [2, numExperts, heads, 1, dimHead],
    'attn.to_q.weight': [numExperts * inner, dim, 1],
    'attn.to_kv.weight': [numExperts * 2 * inner, dim, 1],
    'attn.to_out.weight': [numExperts * dim, inner, 1],
  }
  if (prenorm) {
    shapes['local_attn.norm.weight'] = [dim]
    shapes['local_attn.norm.bias'] = [dim]
    shapes['attn.norm.gamma'] = [numExperts, dim, 1]
    shapes['attn.context_norm.gamma'] = [numExperts, dim, 1]
  }
  return new Map(Object.entries(shapes))
}

/** Eighths from -2 to 2. With tokens of 64ths, dot products of up to 40 of them are exact in float32, in any order. */
function eighth(random: Random): number {
  return Math.round(random.uniform() * 32 - 16) / 8
}

function tensor(shape: readonly number[], value: () => number): Tensor {
  const made = Tensor.zeros(shape)
  for (let i = 0; i < made.data.length; i++) made.data[i] = value()
  return made
}

/** Every parameter at random, the norms' too; routing tokens in eighths. */
export function makeParameters(options: DrawnOptions, seed: number): Map<string, Tensor> {
  const random = createRandom(seed)
  const parameters = new Map<string, Tensor>()
  for (const [name, shape] of parameterShapes(options)) {
    const value = (): number => {
      if (name.endsWith('routing_token')) return eighth(random)
      if (/norm\.(weight|gamma)$/.test(name)) return 1 + random.normal() / 4
      if (name.endsWith('weight')) return (2 * random.uniform() - 1) / Math.sqrt(shape[1]!)
      return random.normal()
    }
    parameters.set(name, tensor(shape, value))
  }
  return parameters
}

/**
 * The input of a call, its tokens in 64ths, and which word each token is: equal words are equal tokens, word 0 is all
 * zeros.
 */
export function makeInput({ options: { dim }, call: { batch, length, seed, vocabulary } }: DrawnCase): { x: Tensor; words: number[] } {
  const random = createRandom(seed + 1)
  const words = Array.from({ length: batch * length }, () => Math.floor(random.uniform() * vocabulary))
  const table = tensor([vocabulary, dim], () => Math.round(random.uniform() * 256 - 128) / 64)
  table.data.fill(0, 0, dim)
  const x = Tensor.zeros([batch, length, dim])
  words.forEach((word, i) => x.data.set(table.data.subarray(word * dim, (word + 1) * dim), i * dim))
  return { x, words }
}

/** The options of a call's forward. */
export function makeForwardOptions({ options: { heads, dimHead }, call }: DrawnCase): DrawnCall['overrides'] & { rotaryEmb?: Tensor } {
  const { length, seed, rotary, overrides } = call
  if (rotary === 'none') return { ...overrides }
  const random = createRandom(seed + 2)
  const width = rotary === 'shared' ? dimHead : heads * dimHead
  return { ...overrides, rotaryEmb: tensor([length, width], () => 3 * random.normal()) }
}

/** Sequences `first`, `first + 1`, … of a batch, as a batch of their own. */
export function sequences(batch: Tensor, first: number, count = 1): Tensor {
  const rest = batch.shape.slice(1)
  const size = rest.reduce((product, length) => product * length, 1)
  return new Tensor(batch.data.slice(first * size, (first + count) * size), [count, ...rest])
}

/** The first `length` tokens of every sequence. */
export function prefixes(x: Tensor, length: number): Tensor {
  const [batch, tokens, dim] = x.shape as [number, number, number]
  const made = Tensor.zeros([batch, length, dim])
  for (let b = 0; b < batch; b++) made.data.set(x.data.subarray(b * tokens * dim, (b * tokens + length) * dim), b * length * dim)
  return made
}
