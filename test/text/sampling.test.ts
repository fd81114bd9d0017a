import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { resolveSampling, type SamplingOptions } from '../../src/model/generation/sampling-options.js'
import { createSampler } from '../../src/model/generation/sampling.js'
import { expectThrows } from '../support/errors.js'
import { runs } from '../support/seed.js'

const sampler = (options: SamplingOptions = {}) => createSampler(resolveSampling({ seed: 1, ...options }))
const logitsOf = (...probabilities: number[]) => Float32Array.from(probabilities, Math.log)

/** How often each token is drawn. */
function frequencies(options: SamplingOptions, logits: Float32Array, draws = 20_000): number[] {
  const counts = new Array<number>(logits.length).fill(0)
  const draw = sampler(options)
  for (let i = 0; i < draws; i++) counts[draw.sample(logits).id]!++
  return counts.map((count) => count / draws)
}

function expectNear(found: number[], expected: number[]): void {
  // Five standard deviations of 20,000 draws.
  found.forEach((frequency, id) => expect(Math.abs(frequency - expected[id]!)).toBeLessThanOrEqual(expected[id] === 0 ? 0 : 0.018))
}

describe('sampling options', () => {
  it('have defaults that change nothing', () => {
    expect(resolveSampling()).toEqual({ temperature: 1, topK: Infinity, topP: 1, minP: 0, seed: undefined, topLogprobs: 0 })
    expect(resolveSampling({ temperature: undefined, topK: undefined, topP: undefined })).toEqual(resolveSampling({}))
  })

  it.each([
    { temperature: -0.1 },
    { temperature: NaN },
    { temperature: Infinity },
    { temperature: '1' },
    { temperature: null },
    { topK: 0 },
    { topK: 1.5 },
    { topK: Infinity },
    { topK: null },
    { topP: 0 },
    { topP: 1.01 },
    { topP: NaN },
    { topP: [0.5] },
    { minP: -0.1 },
    { minP: 1.01 },
    { minP: NaN },
    { minP: '0.1' },
    { minP: null },
    { topLogprobs: -1 },
    { topLogprobs: 1.5 },
    { topLogprobs: Infinity },
    { topLogprobs: null },
    { topLogprobs: true },
    { seed: 'x' },
    { seed: NaN },
    { seed: null },
  ])('are rejected: %j', (options) => {
    expectThrows(() => resolveSampling(options as never), 'BAD_ARGUMENT', new RegExp(Object.keys(options)[0]!))
  })
})

describe('a sampler', () => {
  it('draws tokens as often as they are probable', () => {
    expectNear(frequencies({}, logitsOf(0.5, 0.3, 0.2)), [0.5, 0.3, 0.2])
  })

  it('divides logits by the temperature', () => {
    const [a, b] = [0.8 ** 2, 0.2 ** 2]
    expectNear(frequencies({ temperature: 0.5 }, logitsOf(0.8, 0.2)), [a / (a + b), b / (a + b)])
  })

  it('takes the best at temperature 0; ties go to the lowest id', () => {
    expect(sampler({ temperature: 0 }).sample(Float32Array.of(1, 3, 2, 3)).id).toBe(1)
    expect(sampler({ temperature: 1e-320 }).sample(Float32Array.of(1, 3, 2)).id).toBe(1)
  })

  it('draws among the topK best; ties go to the lower ids', () => {
    expectNear(frequencies({ topK: 2 }, logitsOf(0.1, 0.3, 0.1, 0.3, 0.2)), [0, 0.5, 0, 0.5, 0])
    expectNear(frequencies({ topK: 2 }, new Float32Array(4)), [0.5, 0.5, 0, 0])
    expectNear(frequencies({ topK: 9 }, logitsOf(0.5, 0.5)), [0.5, 0.5])
  })

  it('draws among the fewest whose probabilities reach topP', () => {
    expectNear(frequencies({ topP: 0.7 }, logitsOf(0.2, 0.5, 0.3)), [0, 0.625, 0.375])
    expectNear(frequencies({ topP: 0.4 }, logitsOf(0.2, 0.5, 0.3)), [0, 1, 0])
    expectNear(frequencies({ topP: 1e-300 }, logitsOf(0.2, 0.5, 0.3)), [0, 1, 0])
  })

  it('counts topP over what topK leaves', () => {
    // 0.4 and 0.3 are left, 0.57 and 0.43 of their sum.
    expectNear(frequencies({ topK: 2, topP: 0.55 }, logitsOf(0.4, 0.3, 0.3)), [1, 0, 0])
  })

  it('draws among those at least minP times as probable as the best, at the temperature', () => {
    expectNear(frequencies({ minP: 0.49 }, logitsOf(0.5, 0.25, 0.15, 0.1)), [2 / 3, 1 / 3, 0, 0])
    expectNear(frequencies({ minP: 1 }, logitsOf(0.2, 0.4, 0.4)), [0, 0.5, 0.5])
    // at temperature 0.5 the second is a quarter as probable as the first
    expectNear(frequencies({ minP: 0.3, temperature: 0.5 }, logitsOf(0.5, 0.25, 0.25)), [1, 0, 0])
    // what topK and topP leave is less still
    expectNear(frequencies({ minP: 0.5, topK: 1 }, logitsOf(0.5, 0.5)), [1, 0])
    expectNear(frequencies({ minP: 0.9, topP: 0.9 }, logitsOf(0.5, 0.3, 0.2)), [1, 0, 0])
    expectNear(frequencies({ minP: 0.5, topP: 0.99 }, logitsOf(0.5, 0.3, 0.2)), [0.625, 0.375, 0])
  })

  it('reports the most probable tokens under the unprocessed logits', () => {
    const given = Float32Array.of(1, 3, -Infinity, 3, 2)
    const adjusted = Float32Array.of(9, 0, 0, 0, 0)
    const sum = Math.exp(1) + 2 * Math.exp(3) + Math.exp(2)
    const logprob = (id: number) => given[id]! - Math.log(sum)
    for (const options of [{}, { temperature: 0 }, { topK: 1 }]) {
      const { id, topLogprobs, ...sample } = sampler({ ...options, topLogprobs: 3 }).sample(adjusted, given)
      expect(sample.logprob).toBeCloseTo(logprob(id), 12)
      expect(topLogprobs!.map(({ id }) => id)).toEqual([1, 3, 4])
      for (const { id, logprob: told } of topLogprobs!) expect(told).toBeCloseTo(logprob(id), 12)
    }
    const { topLogprobs } = sampler({ topLogprobs: 99 }).sample(given)
    expect(topLogprobs!.map(({ id }) => id)).toEqual([1, 3, 4, 0, 2])
    expect(topLogprobs!.at(-1)!.logprob).toBe(-Infinity)
    expect(sampler({ topLogprobs: 1, temperature: 0 }).sample(given).topLogprobs).toEqual([expect.objectContaining({ id: 1 })])
    expect(sampler().sample(given)).not.toHaveProperty('topLogprobs')
  })

  it('reports the probability under the unprocessed logits', () => {
    for (const options of [{}, { temperature: 0 }, { temperature: 3 }, { topK: 1 }, { topP: 0.1 }]) {
      const logits = Float32Array.of(-0.5, 2, 1)
      const { id, logprob } = sampler(options).sample(logits)
      expect(logprob).toBeCloseTo(logits[id]! - Math.log(Math.exp(-0.5) + Math.exp(2) + Math.exp(1)), 12)
    }
    expect(sampler().sample(Float32Array.of(7)).logprob).toBe(0)
    expect(sampler({ temperature: 0 }).sample(Float32Array.of(3e38, -3e38))).toEqual({ id: 0, logprob: 0 })
  })

  it('reports the same bits however a token is drawn', () => {
    const logits = Float32Array.from({ length: 300 }, (_, id) => (id % 7 === 0 ? -Infinity : 9 * Math.sin(id * id)))
    const greedy = sampler({ temperature: 0 }).sample(logits)
    const offset = logits[greedy.id]! - greedy.logprob
    for (const options of [{}, { temperature: 1.5 }, { topK: 20 }, { topP: 0.9 }, { minP: 0.05 }]) {
      const drawing = sampler({ ...options, seed: 3, topLogprobs: 300 })
      for (let i = 0; i < 20; i++) {
        const { id, logprob, topLogprobs } = drawing.sample(logits)
        expect(topLogprobs![0]).toEqual(greedy)
        expect(logprob).toBeCloseTo(logits[id]! - offset, 12)
        expect(logprob).toBe(topLogprobs!.find((token) => token.id === id)!.logprob)
      }
    }
  })

  it('never draws a token of -Infinity', () => {
    for (const options of [{}, { topK: 3 }, { topP: 0.9999999 }, { temperature: 1e300 }]) {
      const found = frequencies(options, Float32Array.of(-Infinity, 0, -Infinity, 0), 500)
      expect(found[0]! + found[2]!).toBe(0)
    }
  })

  it('draws the same tokens for the same seed', () => {
    const logits = new Float32Array(100)
    const draws = (options: SamplingOptions) => {
      const draw = createSampler(resolveSampling(options))
      return Array.from({ length: 50 }, () => draw.sample(logits).id)
    }
    expect(draws({ seed: 5 })).toEqual(draws({ seed: 5 }))
    expect(draws({ seed: 5 })).not.toEqual(draws({ seed: 6 }))
    expect(draws({})).not.toEqual(draws({}))
  })

  it('rejects logits that define no distribution', () => {
    for (const options of [{}, { temperature: 0 }, { topK: 1 }]) {
      for (const bad of [
        [NaN, 1],
        [1, NaN],
        [Infinity, 1],
        [-Infinity, -Infinity],
      ]) {
        expectThrows(() => sampler(options).sample(Float32Array.from(bad)), 'NUMERIC', /no distribution/)
      }
    }
    for (const bad of [null, [1, 2], new Float32Array(0), new Float64Array(2)])
      expectThrows(() => sampler().sample(bad as never), 'BAD_ARGUMENT')
  })

  it('keeps the same tokens as a full sort', () => {
    const logits = fc
      .array(fc.oneof(fc.integer({ min: -3, max: 3 }), fc.constant(-Infinity)), { minLength: 1, maxLength: 40 })
      .filter((list) => list.some((logit) => logit > -Infinity))
    fc.assert(
      fc.property(
        logits,
        fc.integer({ min: 1, max: 45 }),
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        fc.integer(),
        (list, topK, topP, seed) => {
          const sorted = list
            .map((logit, id) => ({ id, weight: Math.exp(logit) }))
            .sort((a, b) => b.weight - a.weight || a.id - b.id)
            .slice(0, topK)
          const total = sorted.reduce((sum, { weight }) => sum + weight, 0)
          const allowed = new Set<number>()
          let sum = 0
          for (const { id, weight } of sorted) {
            // A little more than topP, for sums in another order.
            if (sum >= topP * total * (1 + 1e-9) || weight === 0) break
            allowed.add(id)
            sum += weight
          }
          const draw = sampler({ topK, topP, seed })
          for (let i = 0; i < 20; i++) expect(allowed).toContain(draw.sample(Float32Array.from(list)).id)
        },
      ),
      runs(100),
    )
  })
})
