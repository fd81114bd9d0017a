/** `session.inspect()` tells what the last token attended to, as the float64 reference does, and changes nothing. */
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import type { Runtime } from '../../src/device/runtime.js'
import type { LayerInspection } from '../../src/model/inspection.js'
import { fromRows } from '../reference/arithmetic.js'
import { referenceInspection, type InspectedLayer } from '../reference/index.js'
import { largestDifference } from '../support/compare.js'
import { isRoutingSafe } from '../support/routing-margin.js'
import { type BuildName, openRuntime } from '../support/runtimes.js'
import { causalConfigs, loadSmallModel, poisonMemory, randomTokens, smallModel, splits } from '../support/small-models.js'
import { runs } from '../support/seed.js'

const opened = new Map<string, Runtime>()

/** A runtime that many cases share; memory holds NaN until it is written. */
function runtimeOf(build: BuildName, partitions: number): Runtime {
  const key = `${build} ${partitions}`
  const runtime = opened.get(key) ?? openRuntime(build, partitions)
  opened.set(key, runtime)
  poisonMemory(runtime)
  return runtime
}

afterAll(() => {
  for (const runtime of opened.values()) void runtime.dispose()
})

/** Whether no decision of a layer hangs on a last bit. */
function isSafe({ block: { options, parameters, x, forwardOptions, isRouted } }: InspectedLayer): boolean {
  const { dim } = options
  return !isRouted || isRoutingSafe(options, parameters, fromRows(x, [1, x.length, dim]), forwardOptions)
}

/** Compares up to the first layer whose routing may differ, after which nothing can be compared. */
function expectLike(actual: readonly LayerInspection[], expected: readonly InspectedLayer[]): number {
  expect(actual).toHaveLength(expected.length)
  let compared = 0
  for (const [index, layer] of expected.entries()) {
    if (!isSafe(layer)) break
    compared++
    const { localPositions, localWeights, routerScores, isQuery, heldPositions, routedWeights } = actual[index]!
    expect([...localPositions]).toEqual(layer.localPositions)
    expect(localWeights).toHaveLength(layer.localWeights.length)
    localWeights.forEach((weights, head) => expectClose(weights, layer.localWeights[head]!))
    const { experts } = layer
    expectClose(
      routerScores[0],
      experts.map(({ queryScore }) => queryScore),
    )
    expectClose(
      routerScores[1],
      experts.map(({ keyValueScore }) => keyValueScore),
    )
    expect(isQuery).toEqual(experts.map((expert) => expert.isQuery))
    expect(heldPositions.map((positions) => [...positions])).toEqual(experts.map((expert) => expert.heldPositions))
    expect(routedWeights).toHaveLength(experts.length)
    routedWeights.forEach((heads, expert) => {
      if (!experts[expert]!.isQuery) return expect(heads).toBeUndefined()
      expect(heads).toHaveLength(layer.localWeights.length)
      heads!.forEach((weights, head) => expectClose(weights, experts[expert]!.routedWeights[head]!))
    })
  }
  return compared
}

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>): void {
  expect(actual.length).toBe(expected.length)
  const size = Array.from(expected).reduce((most, value) => Math.max(most, Math.abs(value)), 1)
  expect(largestDifference(Array.from(actual), Array.from(expected)) / size).toBeLessThan(5e-5)
}

const texts = fc
  .integer({ min: 1, max: 80 })
  .chain((length) =>
    fc.record({ length: fc.constant(length), vocabulary: fc.integer({ min: 2, max: 40 }), seed: fc.nat(), cuts: splits(length) }),
  )
const builds = fc.constantFrom<BuildName>('baseline', 'relaxed', 'checked-baseline', 'checked-relaxed')

describe('any strictly causal model, on any number of threads,', () => {
  test('tells of the last token what the float64 reference does, and goes on with the same bits', async () => {
    let compared = 0
    await fc.assert(
      fc.asyncProperty(causalConfigs, texts, builds, fc.integer({ min: 1, max: 4 }), async (config, text, build, partitions) => {
        const tokens = randomTokens(text.length, Math.min(text.vocabulary, config.num_tokens), text.seed)
        const { parameters } = smallModel(config, text.seed)
        using model = await loadSmallModel(runtimeOf(build, partitions), config, text.seed)
        const asked = model.createSession()
        const other = model.createSession()
        for (const size of text.cuts) {
          const chunk = tokens.slice(asked.position, asked.position + size)
          if (asked.position + size === 0) continue
          const logits = await asked.append(chunk)
          const saved = asked.save()
          const inspection = await asked.inspect()
          expect(inspection).toMatchObject({ position: asked.position - 1, token: tokens[asked.position - 1] })
          compared += expectLike(inspection.layers, referenceInspection(config, parameters, tokens.slice(0, asked.position)))
          expect(await other.append(chunk)).toEqual(logits)
          expect(other.save()).toEqual(saved)
          expect(asked.save()).toEqual(saved)
          expect(await asked.append([])).toEqual(logits)
        }
      }),
      runs(60),
    )
    expect(compared).toBeGreaterThan(100)
  })
})
