import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type LayerTrace, MixtureOfAutoregressiveAttention } from '../../src/model/layer.js'
import { Tensor } from '../../src/tensor.js'
import { referenceLayer } from '../reference/index.js'
import { cases, type DrawnCase, longCases, makeForwardOptions, makeInput, makeParameters, sequences } from '../support/arbitraries.js'
import { expectSameBits } from '../support/bits.js'
import { largestDifference } from '../support/compare.js'
import { type Place, places, traced, withLayer } from '../support/drawn-layers.js'
import { isRoutingSafe } from '../support/routing-margin.js'
import { allBuilds, openRuntime } from '../support/runtimes.js'
import { runs } from '../support/seed.js'

// Time is no promise of these tests: the machine may be busy.

/** A window's routing by one expert, from a trace. */
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
async function expectReference(place: Place, drawn: DrawnCase): Promise<void> {
  const { options, call } = drawn
  const { x } = makeInput(drawn)
  const forward = makeForwardOptions(drawn)
  const parameters = makeParameters(options, call.seed)
  const actual = await traced(place, drawn, x, forward)
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
  test('agrees with the float64 reference, and routes as it does wherever float32 must', async () => {
    await fc.assert(fc.asyncProperty(places, cases(), expectReference), runs(250))
  })

  test('agrees with the reference when a window is computed in several chunks', async () => {
    await fc.assert(fc.asyncProperty(places, longCases, expectReference), runs(20))
  })

  test('selects the earlier one of two equal tokens, as a query and as a key/value', async () => {
    await fc.assert(
      fc.asyncProperty(cases(), places, fc.constantFrom(2, 5, 13), async ({ options, call }, place, vocabulary) => {
        const drawn = { options, call: { ...call, vocabulary, batch: 1 } }
        const { x, words } = makeInput(drawn)
        // Tokens that no short sum represents exactly: what ties is equal, nothing else.
        const embedding = Tensor.randn([vocabulary, options.dim], call.seed)
        words.forEach((word, t) => x.data.set(sequences(embedding, word).data, t * options.dim))
        for (const { start, queries, context } of routings(await traced(place, drawn, x, makeForwardOptions(drawn)))) {
          const end = Math.min(start + options.routedWindowSize, call.length)
          expectEarliest(queries, words, start, end)
          expectEarliest(context, words, 0, start)
        }
      }),
      runs(80),
    )
  })

  test('gives a window a context of earlier windows only, as many tokens as requested or available, and as many queries', async () => {
    await fc.assert(
      fc.asyncProperty(cases(), places, async (drawn, place) => {
        const { options, call } = drawn
        const { x } = makeInput(drawn)
        const { numRoutedQueries, numRoutedKeyValues } = { ...options, ...call.overrides }
        const window = options.routedWindowSize
        const windows = Math.max(0, Math.ceil(call.length / window) - 1)
        const all = routings(await traced(place, drawn, x, makeForwardOptions(drawn)))
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
  })

  test('needs little memory for windows and counts far beyond the sequence, which mean all of it', async () => {
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
  })

  test('windows of one token, each with a context of its own, use little memory', async () => {
    using runtime = openRuntime('baseline')
    const options = { dim: 64, numRoutedQueries: 1, numRoutedKeyValues: 128, localAttnWindowSize: 1 }
    await new MixtureOfAutoregressiveAttention(runtime, options).forward(Tensor.randn([1, 400, 64]))
    // the contexts of 256 windows would be 285 MB
    expect(runtime.info.memory.reserved).toBeLessThan(2 ** 26)
  })
})

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
