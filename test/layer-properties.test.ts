import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import type { Runtime } from '../src/device/runtime.js'
import { type ForwardOptions, type LayerTrace, MixtureOfAutoregressiveAttention } from '../src/model/layer.js'
import { initialLayerParameters } from '../src/model/state-dict.js'
import { createRandom } from '../src/random.js'
import { Tensor } from '../src/tensor.js'
import { referenceLayer } from './reference/index.js'
import {
  anyOptions,
  cases,
  causalOptions,
  type DrawnCase,
  type DrawnOptions,
  longCases,
  makeForwardOptions,
  makeInput,
  makeParameters,
  prefixes,
  runs,
  sequences,
} from './support/arbitraries.js'
import { expectSameBits, expectSameTrace, traceNames } from './support/bits.js'
import { largestDifference } from './support/compare.js'
import { isRoutingSafe } from './support/routing-margin.js'
import { allBuilds, type BuildName, openRuntime } from './support/runtimes.js'

const opened = new Map<string, Runtime>()

function runtimeOf(build: BuildName, shares: number): Runtime {
  const key = `${build} ${shares}`
  const runtime = opened.get(key) ?? openRuntime(build, shares)
  opened.set(key, runtime)
  return runtime
}

afterAll(() => {
  for (const runtime of opened.values()) void runtime.dispose()
})

/** Where a property runs: shipped builds and checked ones, on one share and on several. */
const places = fc.constantFrom(...allBuilds.flatMap((build) => [runtimeOf(build, 1), runtimeOf(build, 3)]))

/** Makes the drawn layer, lets `use` work with it, and disposes of it. */
async function withLayer<T>(
  runtime: Runtime,
  options: DrawnOptions,
  seed: number,
  use: (layer: MixtureOfAutoregressiveAttention) => Promise<T>,
): Promise<T> {
  const layer = new MixtureOfAutoregressiveAttention(runtime, options)
  try {
    layer.loadStateDict(makeParameters(options, seed))
    return await use(layer)
  } finally {
    layer.dispose()
  }
}

function traced(runtime: Runtime, { options, call }: DrawnCase, x: Tensor, forward: ForwardOptions): Promise<LayerTrace> {
  return withLayer(runtime, options, call.seed, (layer) => layer.forward(x, { ...forward, trace: true }))
}

/** A window's routing by one expert, as a trace tells it. */
interface Routing {
  sequence: number
  start: number
  queries: number[]
  context: number[]
  emptyPlaces: number
}

function routings(trace: LayerTrace): Routing[] {
  const [batch, windows, experts, window] = trace.routedQueries.shape as [number, number, number, number]
  const places = trace.keyValueIndices.shape[3]!
  return Array.from({ length: batch * windows * experts }, (_, pair) => {
    const start = ((Math.floor(pair / experts) % windows) + 1) * window
    const own = Array.from(trace.routedQueries.data.subarray(pair * window, (pair + 1) * window))
    const row = Array.from(trace.keyValueIndices.data.subarray(pair * places, (pair + 1) * places))
    const queries = own.flatMap((taken, t) => (taken ? [start + t] : []))
    const context = row.filter((position) => position >= 0)
    expect(row).toEqual([...row.filter((position) => position === -1), ...context])
    return { sequence: Math.floor(pair / (windows * experts)), start, queries, context, emptyPlaces: row.length - context.length }
  })
}

/** One call on the runtime, held against the reference. */
async function expectReference(runtime: Runtime, drawn: DrawnCase): Promise<void> {
  const { options, call } = drawn
  const { x } = makeInput(drawn)
  const forward = makeForwardOptions(drawn)
  const parameters = makeParameters(options, call.seed)
  const actual = await traced(runtime, drawn, x, forward)
  const expected = referenceLayer(options, parameters, x, forward)

  const magnitude = expected.out.data.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1)
  expect(largestDifference(actual.localOut.data, expected.localOut.data)).toBeLessThan(2e-6 * magnitude)
  if (expected.routedQueries && expected.keyValueIndices) {
    const { routedQueries, keyValueIndices } = expected
    expect(actual.routedQueries.shape).toEqual(routedQueries.shape)
    expect(actual.keyValueIndices.shape).toEqual(keyValueIndices.shape)
    const difference = Math.max(
      largestDifference(actual.routedQueries.data, routedQueries.data),
      largestDifference(actual.keyValueIndices.data, keyValueIndices.data),
    )
    if (isRoutingSafe(options, parameters, x, forward)) expect(difference).toBe(0)
    if (difference > 0) return
  }
  // A score is exp(c / eps): what float32 leaves open of c is multiplied by 1 / eps.
  const softness = options.straightThrough === false ? 1e-6 / options.eps! : 0
  expect(actual.out.shape).toEqual(x.shape)
  expect(largestDifference(actual.out.data, expected.out.data)).toBeLessThan((2e-6 + softness) * magnitude)
}

describe('the layer', () => {
  test('answers as the float64 reference does, and routes as it does wherever float32 must', async () => {
    await fc.assert(fc.asyncProperty(places, cases(), expectReference), runs(250))
  }, 60_000)

  test('answers as the reference does when a window is computed in several pieces', async () => {
    await fc.assert(fc.asyncProperty(places, longCases, expectReference), runs(20))
  }, 60_000)

  test('answers each sequence of a batch as it answers that sequence alone', async () => {
    await fc.assert(
      fc.asyncProperty(cases(), places, async (drawn, runtime) => {
        const { x } = makeInput(drawn)
        const forward = makeForwardOptions(drawn)
        const all = await traced(runtime, drawn, x, forward)
        for (let b = 0; b < drawn.call.batch; b++) {
          const alone = await traced(runtime, drawn, sequences(x, b), forward)
          for (const name of traceNames) {
            expectSameBits(alone[name], sequences(all[name], b))
          }
        }
      }),
      runs(80),
    )
  }, 60_000)

  test('permutes its output with the batch', async () => {
    await fc.assert(
      fc.asyncProperty(cases(), places, async (drawn, runtime) => {
        const { batch, seed } = drawn.call
        const { x } = makeInput(drawn)
        const forward = makeForwardOptions(drawn)
        const order = shuffled([...Array(batch).keys()], seed)
        const permute = (tensor: Tensor) => {
          const moved = Tensor.zeros(tensor.shape)
          order.forEach((from, to) => moved.data.set(sequences(tensor, from).data, (to * tensor.data.length) / batch))
          return moved
        }
        await withLayer(runtime, drawn.options, seed, async (layer) => {
          expectSameBits(await layer.forward(permute(x), forward), permute(await layer.forward(x, forward)))
        })
      }),
      runs(60),
    )
  }, 60_000)

  test('answers with the same bits on any number of shares, and on a checked build as on the shipped one', async () => {
    await fc.assert(
      fc.asyncProperty(cases(), fc.constantFrom('baseline' as const, 'relaxed' as const), async (drawn, build) => {
        const { x } = makeInput(drawn)
        const forward = makeForwardOptions(drawn)
        const expected = await traced(runtimeOf(build, 1), drawn, x, forward)
        for (const shares of [2, 3, 4, 5]) expectSameTrace(await traced(runtimeOf(build, shares), drawn, x, forward), expected)
        expectSameTrace(await traced(runtimeOf(`checked-${build}`, 3), drawn, x, forward), expected)
      }),
      runs(60),
    )
  }, 60_000)

  test('answers with the same bits with a trace and without, and however often it is asked', async () => {
    await fc.assert(
      fc.asyncProperty(cases(), places, async (drawn, runtime) => {
        const { x } = makeInput(drawn)
        const forward = makeForwardOptions(drawn)
        await withLayer(runtime, drawn.options, drawn.call.seed, async (layer) => {
          const first = await layer.forward(x, forward)
          expectSameBits((await layer.forward(x, { ...forward, trace: true })).out, first)
          expectSameBits(await layer.forward(x, forward), first)
        })
      }),
      runs(60),
    )
  }, 60_000)

  test('answers an override as a layer with those options does, and shared angles as the same for each head', async () => {
    await fc.assert(
      fc.asyncProperty(cases(), places, async (drawn, runtime) => {
        const { options, call } = drawn
        const { x } = makeInput(drawn)
        const { rotaryEmb, ...overrides } = makeForwardOptions(drawn)
        const expected = await traced(runtime, drawn, x, { ...overrides, rotaryEmb: rotaryEmb ?? null })
        const angles = rotaryEmb?.shape[1] === options.dimHead ? repeatedColumns(rotaryEmb, options.heads) : rotaryEmb
        const stated = { options: { ...options, ...overrides }, call }
        expectSameTrace(await traced(runtime, stated, x, { rotaryEmb: angles ?? null }), expected)
      }),
      runs(60),
    )
  }, 60_000)

  test('takes the earlier one of two equal tokens, as a query and as a key/value', async () => {
    await fc.assert(
      fc.asyncProperty(cases(), places, fc.constantFrom(2, 5, 13), async ({ options, call }, runtime, vocabulary) => {
        const drawn = { options, call: { ...call, vocabulary, batch: 1 } }
        const { x, words } = makeInput(drawn)
        // Tokens that no short sum represents exactly: what ties is equal, nothing else.
        const embedding = Tensor.randn([vocabulary, options.dim], call.seed)
        words.forEach((word, t) => x.data.set(sequences(embedding, word).data, t * options.dim))
        for (const { start, queries, context } of routings(await traced(runtime, drawn, x, makeForwardOptions(drawn)))) {
          const end = Math.min(start + options.routedWindowSize, call.length)
          expectEarliest(queries, words, start, end)
          expectEarliest(context, words, 0, start)
        }
      }),
      runs(80),
    )
  }, 60_000)

  test('gives a window a context of earlier windows alone, as many as were asked for or are there, and as many queries', async () => {
    await fc.assert(
      fc.asyncProperty(cases(), places, async (drawn, runtime) => {
        const { options, call } = drawn
        const { x } = makeInput(drawn)
        const { numRoutedQueries, numRoutedKeyValues } = { ...options, ...call.overrides }
        const window = options.routedWindowSize
        const windows = Math.max(0, Math.ceil(call.length / window) - 1)
        const all = routings(await traced(runtime, drawn, x, makeForwardOptions(drawn)))
        expect(all).toHaveLength(call.batch * windows * options.numExperts)
        for (const { start, queries, context, emptyPlaces } of all) {
          expect(context.every((position, i) => position < start && position > (context[i - 1] ?? -1))).toBe(true)
          expect(context).toHaveLength(Math.min(numRoutedKeyValues, start))
          expect(context.length + emptyPlaces).toBe(Math.min(numRoutedKeyValues, windows * window))
          const present = Math.min(window, call.length - start)
          expect(queries.every((position) => position < start + present)).toBe(true)
          const least = Math.min(numRoutedQueries, present)
          if (options.causal) expect(queries.length).toBeGreaterThanOrEqual(least)
          else expect(queries).toHaveLength(least)
        }
      }),
      runs(80),
    )
  }, 60_000)

  test('takes a state dict in any order, as a Map or as a record, with the buffers that PyTorch keeps beside the parameters', async () => {
    await fc.assert(
      fc.asyncProperty(cases(), places, async (drawn, runtime) => {
        const { options, call } = drawn
        const { x } = makeInput(drawn)
        const forward = makeForwardOptions(drawn)
        const parameters = makeParameters(options, call.seed)
        const buffers = ['local_attn.attn_fn.rel_pos.inv_freq', 'local_attn.attn_fn.rel_pos.scale'].map(
          (name) => [name, Tensor.randn([3], 1)] as [string, Tensor],
        )
        const entries = shuffled([...parameters, ...buffers], call.seed)
        await withLayer(runtime, options, call.seed, async (layer) => {
          const expected = await layer.forward(x, forward)
          for (const dict of [
            new Map(entries),
            Object.fromEntries(entries),
            Object.assign(Object.create(null), Object.fromEntries(entries)),
          ]) {
            layer.loadStateDict(makeParameters(options, call.seed + 1))
            layer.loadStateDict(dict)
            expectSameBits(await layer.forward(x, forward), expected)
          }
        })
      }),
      runs(30),
    )
  }, 60_000)

  test('begins with the parameters that its seed gives, everywhere the same', async () => {
    await fc.assert(
      fc.asyncProperty(cases(), places, async (drawn, runtime) => {
        const { options, call } = drawn
        const { x } = makeInput(drawn)
        const forward = makeForwardOptions(drawn)
        const first = new MixtureOfAutoregressiveAttention(runtime, options, { seed: call.seed })
        const second = new MixtureOfAutoregressiveAttention(runtime, options, { seed: call.seed })
        const loaded = new MixtureOfAutoregressiveAttention(runtime, options)
        loaded.loadStateDict(initialLayerParameters(first.options, call.seed))
        const expected = await first.forward(x, forward)
        expectSameBits(await second.forward(x, forward), expected)
        expectSameBits(await loaded.forward(x, forward), expected)
        for (const layer of [first, second, loaded]) layer.dispose()
      }),
      runs(30),
    )
  }, 60_000)

  test('leaves the other sequences of a batch, and later calls, untouched by NaN and infinity in one', async () => {
    await fc.assert(
      fc.asyncProperty(cases(), places, fc.nat(), async ({ options, call }, runtime, seed) => {
        const drawn = { options, call: { ...call, batch: call.batch + 1 } }
        const { batch, length } = drawn.call
        fc.pre(length > 0)
        const { x } = makeInput(drawn)
        const forward = makeForwardOptions(drawn)
        const random = createRandom(seed)
        const among = (count: number) => Math.floor(random.uniform() * count)
        const victim = among(batch)
        const poisoned = new Tensor(x.data.slice(), x.shape)
        const size = length * options.dim
        for (let i = 0; i <= among(6); i++) {
          poisoned.data[victim * size + among(size)] = [NaN, Infinity, -Infinity, 3e38, -3e38, 1e-45][among(6)]!
        }
        await withLayer(runtime, options, call.seed, async (layer) => {
          const clean = await layer.forward(x, { ...forward, trace: true })
          const trace = await layer.forward(poisoned, { ...forward, trace: true })
          for (const name of traceNames) {
            for (let b = 0; b < batch; b++) {
              if (b !== victim) expectSameBits(sequences(trace[name], b), sequences(clean[name], b))
            }
          }
          expectSameTrace(await layer.forward(x, { ...forward, trace: true }), clean)
        })
      }),
      runs(120),
    )
  }, 60_000)

  test('answers, whatever the parameters and angles hold', async () => {
    const odd = fc.constantFrom(NaN, Infinity, -Infinity, 3e38, -3e38)
    await fc.assert(
      fc.asyncProperty(cases(), places, odd, fc.nat(), async (drawn, runtime, value, seed) => {
        const { options, call } = drawn
        const { x } = makeInput(drawn)
        const forward = makeForwardOptions(drawn)
        const random = createRandom(seed)
        const spoil = ({ data }: Tensor) => data.fill(value, Math.floor(random.uniform() * data.length))
        const parameters = makeParameters(options, call.seed)
        for (const tensor of parameters.values()) if (random.uniform() < 0.2) spoil(tensor)
        if (forward.rotaryEmb) spoil(forward.rotaryEmb)
        await withLayer(runtime, options, call.seed, async (layer) => {
          const clean = await layer.forward(x, makeForwardOptions(drawn))
          layer.loadStateDict(parameters)
          expect((await layer.forward(x, forward)).shape).toEqual(x.shape)
          layer.loadStateDict(makeParameters(options, call.seed))
          expectSameBits(await layer.forward(x, makeForwardOptions(drawn)), clean)
        })
      }),
      runs(60),
    )
  }, 60_000)

  test('needs little memory for windows and numbers far beyond the sequence, which mean all of it', async () => {
    const huge = 2 ** 24
    await fc.assert(
      fc.asyncProperty(cases(), fc.constantFrom(...allBuilds), fc.boolean(), async (drawn, build, oneWindow) => {
        using runtime = openRuntime(build, 2)
        const { seed } = drawn.call
        const call = { ...drawn.call, length: 50, overrides: {} }
        const window = oneWindow ? 50 : drawn.options.routedWindowSize
        const exact = {
          ...drawn.options,
          routedWindowSize: window,
          localAttnWindowSize: 49,
          numRoutedQueries: window,
          numRoutedKeyValues: 50,
        }
        const beyond = {
          ...drawn.options,
          routedWindowSize: oneWindow ? 2 ** 20 : window,
          localAttnWindowSize: 2 ** 20,
          numRoutedQueries: huge,
          numRoutedKeyValues: huge,
        }
        const { x } = makeInput({ options: exact, call })
        const forward = makeForwardOptions({ options: exact, call })
        const expected = await withLayer(runtime, exact, seed, (layer) => layer.forward(x, forward))
        const before = runtime.info.memory.reserved
        await withLayer(runtime, beyond, seed, async (layer) => expectSameBits(await layer.forward(x, forward), expected))
        const overrides = { numRoutedQueries: Number.MAX_SAFE_INTEGER, numRoutedKeyValues: Number.MAX_SAFE_INTEGER }
        await withLayer(runtime, exact, seed, async (layer) =>
          expectSameBits(await layer.forward(x, { ...forward, ...overrides }), expected),
        )
        expect(runtime.info.memory.reserved - before).toBeLessThan(2 ** 20)
      }),
      runs(30),
    )
  }, 60_000)
})

describe('a causal layer', () => {
  test('answers a prefix with the prefix of its answer, whatever follows', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof({ weight: 7, arbitrary: cases(causalOptions) }, { weight: 1, arbitrary: longCases.map(causally) }),
        places,
        fc.nat(),
        async (drawn, runtime, cut) => {
          const { options, call } = drawn
          const length = cut % (call.length + 1)
          const { x } = makeInput(drawn)
          const { rotaryEmb, ...overrides } = makeForwardOptions(drawn)
          const angles = (tokens: number) => (rotaryEmb ? sequences(rotaryEmb, 0, tokens) : null)
          const other = Tensor.randn(x.shape, call.seed + 3)
          for (let b = 0; b < call.batch; b++) {
            const start = b * call.length * options.dim
            const end = start + length * options.dim
            other.data.set(x.data.subarray(start, end), start)
          }
          await withLayer(runtime, options, call.seed, async (layer) => {
            const prefix = await layer.forward(prefixes(x, length), { ...overrides, rotaryEmb: angles(length) })
            expectSameBits(prefix, prefixes(await layer.forward(x, { ...overrides, rotaryEmb: angles(call.length) }), length))
            expectSameBits(prefix, prefixes(await layer.forward(other, { ...overrides, rotaryEmb: angles(call.length) }), length))
          })
        },
      ),
      runs(80),
    )
  }, 60_000)
})

test('local attention is causal in every layer', async () => {
  await fc.assert(
    fc.asyncProperty(cases(anyOptions), places, fc.nat(), async (drawn, runtime, cut) => {
      const length = cut % (drawn.call.length + 1)
      const { x } = makeInput(drawn)
      const whole = await traced(runtime, drawn, x, {})
      expectSameBits((await traced(runtime, drawn, prefixes(x, length), {})).localOut, prefixes(whole.localOut, length))
    }),
    runs(50),
  )
}, 60_000)

/** The same case for a strictly causal layer. */
function causally({ options, call }: DrawnCase): DrawnCase {
  return { options: { ...options, causal: true, selection: 'top-k', straightThrough: true, averageRouted: false }, call }
}

/** Of the words from `start` up to `end`, each one's earliest places are chosen before its later ones. */
function expectEarliest(chosen: readonly number[], words: readonly number[], start: number, end: number): void {
  const isChosen = new Set(chosen)
  const passedOver = new Set<number>()
  for (let position = start; position < end; position++) {
    const word = words[position]!
    if (!isChosen.has(position)) passedOver.add(word)
    else if (passedOver.has(word)) expect.fail(`token ${position} was chosen, and an equal one before it was not`)
  }
}

function repeatedColumns(angles: Tensor, times: number): Tensor {
  const [rows, width] = angles.shape as [number, number]
  const data = Float32Array.from(
    { length: rows * width * times },
    (_, i) => angles.data[Math.floor(i / (width * times)) * width + (i % width)]!,
  )
  return new Tensor(data, [rows, width * times])
}

function shuffled<T>(items: readonly T[], seed: number): T[] {
  const random = createRandom(seed)
  const keys = new Map(items.map((item) => [item, random.uniform()]))
  return [...items].sort((a, b) => keys.get(a)! - keys.get(b)!)
}
