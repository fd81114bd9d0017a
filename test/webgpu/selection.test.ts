import { beforeAll, describe, expect, test } from 'vitest'
import { AssignSlots, Opcode, Piece, RouteCausal, SelectContext, SelectKeyValues, SelectQueries } from '../../assembly/steps.js'
import type { WebGpuDevice } from '../../src/device/webgpu/webgpu-device.js'
import { integers, normals, range, roundUpTo8, spread } from '../kernels/float32.js'
import {
  expectedKeyValues,
  expectedQueries,
  placeKeyValues,
  placeQueries,
  selectionRules,
  similarityKinds,
  type SelectionCase,
  windowsOf,
} from '../kernels/selection-runner.js'
import { StepMemory } from '../kernels/step-runner.js'
import type { SelectionRule } from '../reference/index.js'
import { noAdapter, openDevice } from './gpu.js'
import { expectSameStep, type StepCase } from './step-comparison.js'

/** Rows of similarities of every kind. */
const kinds: typeof similarityKinds = { ...similarityKinds, 'zero or not': (length, seed) => Float32Array.from(integers(length, 2, seed)) }

type Size = readonly [tokens: number, windowSize: number, count: number]

/** Of every kind of row: k as large as the row or larger; 1; windows of one token; a last one of one token; more than a workgroup. */
const sizes: readonly Size[] = [
  [24, 8, 3],
  [24, 8, 8],
  [24, 8, 30],
  [17, 8, 1],
  [9, 1, 4],
  [45, 5, 9],
  [700, 333, 30],
]

type Selections = (options: SelectionCase) => readonly (readonly unknown[])[]

/** Rows that no rounding decides: those of the first seed that gives such. */
function decidedCase(kind: string, rule: SelectionRule, [length, windowSize, count]: Size, expected: Selections) {
  for (let seed = 1; seed < 50; seed++) {
    const options = {
      similarities: range(2).map((expert) => kinds[kind]!(length, 100 * length + 2 * seed + expert)),
      windowSize,
      count,
      rule,
    }
    if (rule.selection === 'top-k' || expected(options).every((experts) => experts.every((selected) => selected !== undefined)))
      return options
  }
  throw new Error(`no ${kind} similarities of ${length} tokens are clear of rounding`)
}

function queriesStep(options: SelectionCase, piece: StepCase['piece']): StepCase {
  const { memory, words, taken, scores } = placeQueries(options)
  return { memory, opcode: Opcode.SelectQueries, length: SelectQueries.Length, words, piece: piece!, exact: [taken], floats: [scores] }
}

function keyValuesStep(options: SelectionCase, piece: StepCase['piece']): StepCase {
  const { memory, words, lists, scores, chosen } = placeKeyValues(options)
  const written = { exact: [lists, chosen], floats: [scores] }
  return { memory, opcode: Opcode.SelectKeyValues, length: SelectKeyValues.Length, words, piece: piece!, ...written }
}

function pieceOf(options: SelectionCase, first = 1, windows = windowsOf(options)) {
  return { [Piece.Window]: first, [Piece.Windows]: windows, [Piece.SequenceRows]: options.similarities[0]!.length }
}

describe.skipIf(noAdapter)('selection on a GPU, as on the processor', () => {
  let device: WebGpuDevice
  beforeAll(async () => void (device = await openDevice()))

  describe.each(Object.keys(selectionRules))('%s', (name) => {
    const rule = selectionRules[name]!
    const cases = Object.keys(kinds)
      .flatMap((kind) => sizes.map((size) => [kind, size] as const))
      .concat([['narrow', [2700, 1290, 100]]])
    // c is rounded as float32s of the similarities' size are, and then divided by eps
    const tolerance = ({ similarities }: SelectionCase) =>
      rule.straightThrough ? 0 : (Math.max(...similarities.map((s) => Math.max(...s.map(Math.abs))), 1) * 5e-7) / rule.eps

    test('takes the same queries of each window', async () => {
      for (const [kind, size] of cases) {
        const options = decidedCase(kind, rule, size, expectedQueries)
        const make = () => queriesStep(options, pieceOf(options))
        await expectSameStep(device, make, `${kind}, ${size.join(' ')}`, tolerance(options))
      }
    })

    test('takes the same key/values for each window', async () => {
      for (const [kind, size] of cases) {
        const options = decidedCase(kind, rule, size, expectedKeyValues)
        const make = () => keyValuesStep(options, pieceOf(options))
        await expectSameStep(device, make, `${kind}, ${size.join(' ')}`, tolerance(options))
      }
    })

    test('takes the same bits however many windows are handled at once', async () => {
      const options = { ...decidedCase('narrow', rule, [45, 5, 9], expectedQueries), misalignment: 4 }
      for (const step of [queriesStep, keyValuesStep]) {
        const whole = step(options, pieceOf(options))
        await whole.memory.runOn(device, whole.opcode, whole.length, whole.words, whole.piece)
        const parts = step(options, undefined)
        for (const [first, windows] of [
          [5, 4],
          [1, 3],
          [4, 1],
        ] as const) {
          await parts.memory.runOn(device, parts.opcode, parts.length, parts.words, pieceOf(options, first, windows))
        }
        const written = ({ memory, exact, floats }: StepCase) => [...exact!, ...floats!].map((region) => memory.ints(region))
        expect(written(parts)).toEqual(written(whole))
      }
    })
  })

  test('takes the same by top-k where similarities are NaN or infinite', async () => {
    const rule = selectionRules['top-k']!
    for (const values of [[NaN], [Infinity, -Infinity, NaN, Infinity], Array<number>(45).fill(NaN), Array<number>(45).fill(-Infinity)]) {
      const similarities = range(2).map((expert) => kinds.narrow!(45, expert))
      similarities[1]!.set(values, values.length < 45 ? 20 : 0)
      const options = { similarities, windowSize: 9, count: 4, rule }
      await expectSameStep(device, () => queriesStep(options, pieceOf(options)), `queries among ${values.join(' ')}`)
      await expectSameStep(device, () => keyValuesStep(options, pieceOf(options)), `key/values among ${values.join(' ')}`)
    }
  })

  test('takes the same of rows of several chunks', async () => {
    for (const kind of ['often tied', 'narrow']) {
      const similarities = range(2).map((expert) => kinds[kind]!(9000, expert))
      for (const count of [1, 700, 8300]) {
        const options = { similarities, windowSize: 8400, count, rule: selectionRules['top-k']! }
        await expectSameStep(device, () => queriesStep(options, pieceOf(options)), `${count} queries, ${kind}`)
        await expectSameStep(device, () => keyValuesStep(options, pieceOf(options)), `${count} key/values, ${kind}`)
      }
    }
  })

  test('numbers chosen tokens across chunks and experts', async () => {
    const [experts, capacity] = [3, 8600]
    for (const length of [0, 1, 17, 8192, 8600]) {
      for (const density of [2, 40]) {
        const make = (): StepCase => {
          const marks = integers(experts * capacity, density, length).map((mark) => Number(mark === 1))
          const total = range(experts).reduce(
            (sum, r) => sum + marks.subarray(r * capacity, r * capacity + length).filter(Boolean).length,
            0,
          )
          const memory = new StepMemory(4)
          const chosen = memory.inputOutput(marks, [{ rows: experts, width: length, stride: capacity }])
          const positions = memory.output(total)
          const counts = memory.output(experts)
          const words = {
            [AssignSlots.Chosen]: chosen,
            [AssignSlots.Positions]: positions,
            [AssignSlots.Counts]: counts,
            [AssignSlots.Experts]: experts,
            [AssignSlots.Capacity]: capacity,
          }
          const piece = { [Piece.SequenceRows]: length }
          return { memory, opcode: Opcode.AssignSlots, length: AssignSlots.Length, words, piece, exact: [chosen, positions, counts] }
        }
        await expectSameStep(device, make, `${length} tokens, one of ${density}`)
      }
    }
  })

  const causalKinds: Record<string, (length: number, seed: number) => Float32Array> = {
    ...kinds,
    ascending: (length) => Float32Array.from(range(length)),
    descending: (length) => Float32Array.from(range(length), (i) => -i),
    'of every magnitude': (length, seed) => normals(length, seed).map((x, i) => x * 10 ** (((i * 11) % 70) - 38)),
  }

  test('routes causally, in pieces of any length', async () => {
    for (const [kind, similarity] of Object.entries(causalKinds)) {
      for (const [window, count, offset, rows, routed] of [
        [37, 3, 0, 37, 1],
        [37, 200, 0, 37, 1],
        [37, 1, 5, 20, 1],
        [37, 3, 36, 1, 1],
        [37, 3, 37, 0, 1],
        [37, 3, 5, 20, 0],
        [700, 40, 0, 700, 1],
        [700, 8, 255, 300, 1],
        [256, 32, 0, 256, 1],
      ] as const) {
        const make = (): StepCase => {
          const [capacity, rowCapacity] = [window + 3, rows + 2]
          const all = range(3).flatMap((r) => [...similarity(window, r + 1)])
          const memory = new StepMemory()
          const writable = [{ rows: 3, width: routed * rows, stride: rowCapacity }]
          const lists = memory.output(3 * rowCapacity, writable)
          const slots = memory.output(3 * rowCapacity, writable)
          const counts = memory.output(3)
          const words = {
            [RouteCausal.Similarities]: memory.input(spread(Float32Array.from(all), window, capacity)),
            [RouteCausal.Lists]: lists,
            [RouteCausal.Slots]: slots,
            [RouteCausal.Counts]: counts,
            [RouteCausal.Experts]: 3,
            [RouteCausal.Count]: count,
            [RouteCausal.Capacity]: capacity,
            [RouteCausal.RowCapacity]: rowCapacity,
          }
          const piece = { [Piece.Rows]: rows, [Piece.WindowOffset]: offset, [Piece.Routed]: routed }
          return { memory, opcode: Opcode.RouteCausal, length: RouteCausal.Length, words, piece, exact: [lists, slots, counts] }
        }
        await expectSameStep(device, make, `${kind}: ${rows} rows of ${window} from ${offset} on, ${count} taken`)
      }
    }
  })

  test('gives a closing window to the context', async () => {
    for (const [kind, similarity] of Object.entries(causalKinds)) {
      for (const [before, window, count, closes] of [
        [0, 1, 1, 1],
        [0, 4, 9, 1],
        [3, 5, 9, 1],
        [9, 1, 9, 1],
        [9, 40, 9, 1],
        [9, 40, 9, 0],
        [130, 128, 130, 1],
        [1000, 333, 1100, 1],
        [8190, 300, 8200, 1],
      ] as const) {
        const make = (): StepCase => {
          const capacity = roundUpTo8(count + 1)
          const rows = (width: number, seed: number) => range(3).flatMap((r) => [...similarity(width, seed + r)])
          const memory = new StepMemory(8)
          const places = [{ rows: 3, width: closes * Math.min(count, before + window), stride: capacity }]
          const held = new Float32Array(3 * capacity).fill(NaN)
          const positions = new Int32Array(3 * capacity).fill(-7)
          for (const r of range(3)) {
            held.set(similarity(before, r + 1), r * capacity)
            positions.set(
              range(before).map((i) => 3 * i + r),
              r * capacity,
            )
          }
          const contextSimilarities = memory.inputOutput(held, places)
          const contextPositions = memory.inputOutput(positions, places)
          const kept = memory.output(3 * capacity, [{ rows: 3, width: closes * before, stride: capacity }])
          const newcomers = memory.output(3 * window, [{ width: closes * 3 * window }])
          const counts = [memory.output(3), memory.output(3)] as const
          const workBytes = 1024 + 8 * (capacity + window)
          const words = {
            [SelectContext.Similarities]: memory.input(Float32Array.from(rows(window, 11))),
            [SelectContext.ContextSimilarities]: contextSimilarities,
            [SelectContext.ContextPositions]: contextPositions,
            [SelectContext.Kept]: kept,
            [SelectContext.KeptCounts]: counts[0],
            [SelectContext.Newcomers]: newcomers,
            [SelectContext.NewcomerCounts]: counts[1],
            [SelectContext.Candidates]: memory.output((3 * workBytes) / 4),
            [SelectContext.Experts]: 3,
            [SelectContext.Count]: count,
            [SelectContext.ContextCapacity]: capacity,
            [SelectContext.Window]: window,
            [SelectContext.WorkBytes]: workBytes,
          }
          const piece = { [Piece.Closes]: closes, [Piece.ContextCount]: before, [Piece.WindowPosition]: 1000 }
          const exact = [contextSimilarities, contextPositions, kept, newcomers, ...counts]
          return { memory, opcode: Opcode.SelectContext, length: SelectContext.Length, words, piece, exact }
        }
        await expectSameStep(device, make, `${kind}: ${window} tokens join ${before} of ${count}`)
      }
    }
  })
})
