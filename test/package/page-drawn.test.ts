import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Context, drawnProbabilities } from '../../examples/page/src/engine/drawn.js'
import { TokenTexts } from '../../examples/page/src/engine/token-texts.js'
import { Writer } from '../../examples/page/src/engine/writer.js'
import type { DrawnBy } from '../../examples/page/src/protocol.js'
import { createRuntime, LanguageModel, type Runtime } from '../../src/index.js'
import { CategoricalSampler } from '../../src/model/generation/categorical-sampler.js'
import { LogitsAdjuster, resolveLogits } from '../../src/model/generation/logits-adjuster.js'
import { resolveSampling } from '../../src/model/generation/sampling-options.js'
import { createSampler, mostProbable } from '../../src/model/generation/sampling.js'
import { novels2Int8Folder } from '../support/models.js'
import { runs } from '../support/seed.js'

const PLAIN: DrawnBy = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, frequencyPenalty: 0, presencePenalty: 0 }

/** The settings as options of the package. */
function optionsOf({ topK, ...others }: DrawnBy) {
  return topK > 0 ? { ...others, topK } : others
}

/** The logits as the package adjusts them. */
function adjusted(logits: Float32Array, settings: DrawnBy, { given, written }: Context): Float32Array {
  const result = logits.slice()
  const config = resolveLogits('test', settings, logits.length)
  if (!config) return result
  const adjuster = new LogitsAdjuster(config, given)
  for (let i = 0; i < written.length; i++) adjuster.took(written[i]!)
  void adjuster.adjust(result)
  return result
}

const SIZE = 24
// few values, so that some are equal; and many, so that top-p has edges anywhere
const logit = fc.oneof(
  fc.constantFrom(-Infinity, -2, -1, 0, 0.5, 3),
  fc.float({ min: -6, max: 6, noNaN: true }),
  fc.float({ min: -300, max: 4, noNaN: true }),
)
const maybe = (value: fc.Arbitrary<number>, none: number) => fc.oneof(fc.constant(none), value)
const between = (min: number, max: number) => fc.double({ min, max, noNaN: true })
const ids = fc.array(fc.nat(SIZE - 1), { maxLength: 12 })
const cases = fc.record({
  logits: fc.array(logit, { minLength: SIZE - 1, maxLength: SIZE - 1 }).map((values) => Float32Array.of(...values, 1)),
  settings: fc.record({
    temperature: maybe(between(0.05, 2), 1),
    topK: maybe(fc.integer({ min: 1, max: SIZE + 2 }), 0),
    topP: maybe(between(0.05, 1), 1),
    minP: maybe(between(0, 0.5), 0),
    repetitionPenalty: maybe(between(1, 2), 1),
    frequencyPenalty: maybe(between(0, 2), 0),
    presencePenalty: maybe(between(0, 2), 0),
  }),
  context: fc.record({ given: ids, written: ids }),
  edge: fc.record({ of: fc.constantFrom('none', 'topP', 'minP'), rank: fc.nat(SIZE - 1) }),
})

type Case = typeof cases extends fc.Arbitrary<infer Value> ? Value : never

/** The settings, with top-p or min-p at the very token of a rank, where the last bit decides. */
function onEdge({ logits, settings, context, edge: { of, rank } }: Case): DrawnBy {
  if (of === 'none') return settings
  const drawnFrom = adjusted(logits, settings, context)
  const largest = Math.max(...drawnFrom)
  const weights = [...drawnFrom].map((logit) => Math.exp((logit - largest) / settings.temperature))
  const ranked = weights.slice().sort((a, b) => b - a)
  const sum = (values: number[]) => values.reduce((total, weight) => total + weight, 0)
  if (of === 'minP') return { ...settings, minP: ranked[rank]! }
  const isLimited = settings.topK > 0 && settings.topK < SIZE
  const topP = sum(ranked.slice(0, rank + 1)) / sum(isLimited ? ranked.slice(0, settings.topK) : weights)
  return { ...settings, topP: Math.min(topP, 1) }
}

test('a token is drawn for just the share of random numbers that is shown, whatever the settings', () => {
  fc.assert(
    fc.property(cases, (example) => {
      const { logits, context } = example
      const settings = onEdge(example)
      const shown = drawnProbabilities(logits, settings, context)
      expect(shown.reduce((sum, probability) => sum + probability, 0)).toBeCloseTo(1, 12)
      const options = resolveSampling(optionsOf(settings))
      const sampler = new CategoricalSampler(options, SIZE)
      const drawnFrom = adjusted(logits, settings, context)
      const largest = drawnFrom[mostProbable(drawnFrom)]!
      // the random numbers of a token are one interval, in the order in which the package considers tokens
      const order = [...shown.keys()]
      if (options.topK < SIZE || options.topP < 1)
        order.sort((a, b) => (drawnFrom[b]! > drawnFrom[a]! ? 1 : drawnFrom[b]! < drawnFrom[a]! ? -1 : a - b))
      let start = 0
      for (const id of order) {
        const width = shown[id]!
        for (const share of width > 1e-9 ? [1e-5, 0.5, 1 - 1e-5] : [])
          expect(sampler.draw(drawnFrom, largest, start + share * width)).toBe(id)
        start += width
      }
    }),
    runs(4000),
  )
})

test('at temperature 0 the likeliest token after penalties is drawn, the first of equal ones', () => {
  fc.assert(
    fc.property(cases, ({ logits, settings, context }) => {
      const greedy = { ...settings, temperature: 0 }
      const { id } = createSampler(resolveSampling(optionsOf(greedy))).sample(adjusted(logits, greedy, context), logits)
      const expected = new Float64Array(SIZE)
      expected[id] = 1
      expect(drawnProbabilities(logits, greedy, context)).toEqual(expected)
    }),
    runs(100),
  )
})

let runtime: Runtime
let model: LanguageModel

beforeAll(async () => {
  runtime = await createRuntime({ threads: 1 })
  model = await LanguageModel.load(novels2Int8Folder, { runtime })
})
afterAll(() => runtime.dispose())

const DRAWS = 250
const SETTINGS: DrawnBy[] = [
  { ...PLAIN, temperature: 1.3, topK: 12, frequencyPenalty: 1.5, presencePenalty: 1 },
  { ...PLAIN, temperature: 0.8, topP: 0.7, minP: 0.02, repetitionPenalty: 1.6 },
]

test('generate draws as often as is shown, of tokens that were given, written, put there and written after a pause', async () => {
  const { signal } = new AbortController()
  const writer = new Writer(model, new TokenTexts(model.tokenizer))
  const write = { ...PLAIN, seed: 5, maxTokens: 12 }
  await writer.write('The old captain said that the captain', write, signal, () => {})
  const given = writer.text.length - 12
  const branched = given + 6
  await writer.branch(branched, writer.text.ids.view()[given]!, write, signal, () => {})
  const paused = writer.text.length
  await writer.write('', write, signal, () => {})
  const ids = [...writer.text.ids.view()]
  const everything = Array.from({ length: model.config.numTokens }, (_, id) => id)
  // where the generation began that wrote the token
  const places = [[3, 3], [given, given + 5], [branched, branched], [branched + 1, branched + 9], [paused, paused + 7]] as const // prettier-ignore
  for (const [index, [start, position]] of places.entries()) {
    const settings = SETTINGS[index % SETTINGS.length]!
    const { probabilities: shown } = await writer.drawn(position, everything, settings, signal)
    const few = await writer.drawn(position, [7, 300], settings, signal)
    expect([...few.probabilities]).toEqual([shown[7], shown[300]])
    expect(few.others + shown[7]! + shown[300]!).toBeCloseTo(1, 12)
    const counts = new Float64Array(shown.length)
    const writtenIds = ids.slice(start, position)
    for (let seed = 0; seed < DRAWS; seed++) {
      const options = { ...optionsOf(settings), seed, writtenIds, maxTokens: writtenIds.length + 1, ignoreEos: true }
      for await (const { id } of model.generate(ids.slice(0, start), options)) counts[id]!++
    }
    expect(counts.reduce((sum, count) => sum + count)).toBe(DRAWS)
    counts.forEach((count, id) => {
      const probability = shown[id]!
      if (probability === 0) expect([id, count]).toEqual([id, 0])
      // five standard deviations
      const most = 5 * Math.sqrt(DRAWS * probability * (1 - probability)) + 1
      expect(Math.abs(count - DRAWS * probability), `token ${id} at ${position}`).toBeLessThanOrEqual(most)
    })
  }
  writer.dispose()
})
