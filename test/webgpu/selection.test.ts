import { beforeAll, describe, expect, test } from 'vitest'
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { range } from '../kernels/float32.js'
import { causalRoutings, causalScoreKinds, contextSelections, scoreKinds, selectionSizes, slotLengths } from '../kernels/op-cases.js'
import { expectedKeyValues, expectedQueries, selectionRules, type SelectionCase } from '../kernels/selection-runner.js'
import type { SelectionRule } from '../reference/index.js'
import { noAdapter, openDevice } from './gpu.js'
import { contextOp, keyValuesOp, chunkOf, queriesOp, routeOp, slotsOp } from './selection-ops.js'
import { expectSameOp, wordsFrom, written } from './op-comparison.js'

type Size = (typeof selectionSizes)[number]

type Selections = (options: SelectionCase) => readonly (readonly unknown[])[]

/** Rows whose selection no rounding decides: those of the first such seed. */
function decidedCase(kind: string, rule: SelectionRule, [length, windowSize, count]: Size, expected: Selections) {
  for (let seed = 1; seed < 50; seed++) {
    const options = {
      routerScores: range(2).map((expert) => scoreKinds[kind]!(length, 100 * length + 2 * seed + expert)),
      windowSize,
      count,
      rule,
    }
    if (rule.selection === 'top-k' || expected(options).every((experts) => experts.every((selected) => selected !== undefined)))
      return options
  }
  throw new Error(`no ${kind} router scores of ${length} tokens are clear of rounding`)
}

describe.skipIf(noAdapter)('selection on a GPU, as on the processor', () => {
  let device: WebGpuDevice
  beforeAll(async () => void (device = await openDevice()))

  describe.each(Object.keys(selectionRules))('%s', (name) => {
    const rule = selectionRules[name]!
    const cases = Object.keys(scoreKinds)
      .flatMap((kind) => selectionSizes.map((size) => [kind, size] as const))
      .concat([['narrow', [2700, 1290, 100]]])
    // c is rounded as float32s of the router scores' size are, and then divided by eps
    const tolerance = ({ routerScores }: SelectionCase) =>
      rule.straightThrough ? 0 : (Math.max(...routerScores.map((s) => Math.max(...s.map(Math.abs))), 1) * 5e-7) / rule.eps

    test('selects the same queries of each window', async () => {
      for (const [kind, size] of cases) {
        const options = decidedCase(kind, rule, size, expectedQueries)
        const make = () => queriesOp(options)
        await expectSameOp(device, make, `${kind}, ${size.join(' ')}`, tolerance(options))
      }
    })

    test('selects the same key/values for each window', async () => {
      for (const [kind, size] of cases) {
        const options = decidedCase(kind, rule, size, expectedKeyValues)
        const make = () => keyValuesOp(options)
        await expectSameOp(device, make, `${kind}, ${size.join(' ')}`, tolerance(options))
      }
    })

    test('gives the same bits however many windows are handled at once', async () => {
      const options = { ...decidedCase('narrow', rule, [45, 5, 9], expectedQueries), misalignment: 4 }
      for (const op of [queriesOp, keyValuesOp]) {
        const parts = op(options)
        for (const [first, windows] of [
          [5, 4],
          [1, 3],
          [4, 1],
        ] as const) {
          await wordsFrom(device, { ...parts, chunk: chunkOf(options, first, windows) })
        }
        expect(written(parts)).toEqual(await wordsFrom(device, op(options)))
      }
    })
  })

  test('selects the same by top-k if router scores are NaN or infinite', async () => {
    const rule = selectionRules['top-k']!
    for (const values of [[NaN], [Infinity, -Infinity, NaN, Infinity], Array<number>(45).fill(NaN), Array<number>(45).fill(-Infinity)]) {
      const routerScores = range(2).map((expert) => scoreKinds.narrow!(45, expert))
      routerScores[1]!.set(values, values.length < 45 ? 20 : 0)
      const options = { routerScores, windowSize: 9, count: 4, rule }
      await expectSameOp(device, () => queriesOp(options), `queries among ${values.join(' ')}`)
      await expectSameOp(device, () => keyValuesOp(options), `key/values among ${values.join(' ')}`)
    }
  })

  test('selects the same of rows of several chunks', async () => {
    for (const kind of ['often tied', 'narrow']) {
      const routerScores = range(2).map((expert) => scoreKinds[kind]!(9000, expert))
      for (const count of [1, 700, 8300]) {
        const options = { routerScores, windowSize: 8400, count, rule: selectionRules['top-k']! }
        await expectSameOp(device, () => queriesOp(options), `${count} queries, ${kind}`)
        await expectSameOp(device, () => keyValuesOp(options), `${count} key/values, ${kind}`)
      }
    }
  })

  test('numbers selected tokens across chunks and experts', async () => {
    for (const length of slotLengths) {
      for (const density of [2, 40]) await expectSameOp(device, () => slotsOp(length, density), `${length} tokens, one of ${density}`)
    }
  })

  test('numbers the selected tokens of each expert from a start of its own', async () => {
    for (const [length, stride] of [
      [0, 8],
      [1, 1],
      [17, 24],
      [8192, 8192],
      [8600, 4999],
    ] as const) {
      for (const density of [2, 40]) {
        await expectSameOp(device, () => slotsOp(length, density, stride), `${length} tokens, one of ${density}, ${stride} apart`)
      }
    }
  })

  test('routes causally, in chunks of any length', async () => {
    for (const [kind, draw] of Object.entries(causalScoreKinds)) {
      for (const [window, count, offset, rows, routed] of causalRoutings) {
        const make = () => routeOp(draw, window, count, offset, rows, routed)
        await expectSameOp(device, make, `${kind}: ${rows} rows of ${window} from ${offset} on, ${count} taken`)
      }
    }
  })

  test('routes only the requested rows', async () => {
    for (const requested of [
      { first: 299, rows: 1 },
      { first: 40, rows: 260 },
      { first: 7, rows: 0 },
    ]) {
      const make = () => routeOp(causalScoreKinds.ascending!, 700, 8, 255, 300, 1, requested)
      await expectSameOp(device, make, `${requested.rows} rows from ${requested.first} on`)
    }
  })

  test('updates the context with a closing window', async () => {
    for (const [kind, draw] of Object.entries(causalScoreKinds)) {
      for (const [before, window, count] of contextSelections) {
        await expectSameOp(device, () => contextOp(draw, before, window, count), `${kind}: ${window} tokens join ${before} of ${count}`)
      }
    }
  })

  test('leaves the context unchanged while its window is open', async () => {
    for (const [kind, draw] of Object.entries(causalScoreKinds)) await expectSameOp(device, () => contextOp(draw, 9, 40, 9, 0), kind)
  })
})
