/** Runs the ops that select queries and key/values over a whole sequence. */
import { expect } from 'vitest'
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import { SelectionAlgorithm } from '../../assembly/ir/values.js'
import type { DescentFields } from '../../src/program/op-fields.js'
import type { Runtime } from '../../src/device/runtime.js'
import { coordinateDescent, select, type Selected, type SelectionRule } from '../reference/index.js'
import { integers, normals, range } from './float32.js'
import { OpMemory } from './op-runner.js'

const HISTOGRAM_WORDS = 256

export interface SelectionCase {
  /** [expert][token] */
  readonly routerScores: readonly Float32Array[]
  readonly windowSize: number
  readonly count: number
  readonly rule: SelectionRule
  readonly misalignment?: number
}

function descentFields(rule: SelectionRule): DescentFields {
  return {
    fetchRatio: rule.fetchKRatio,
    eps: rule.eps,
    epsInit: rule.epsInit,
    epsDecay: rule.epsDecay,
    iterations: rule.nIters,
    straightThrough: rule.straightThrough,
    selection: rule.selection === 'top-k' ? SelectionAlgorithm.TopK : SelectionAlgorithm.CoordinateDescent,
  }
}

/** Rows of router scores, each followed by what a kernel may not take for one. */
function placeRouterScores(memory: OpMemory, routerScores: readonly Float32Array[], capacity: number) {
  const all = new Float32Array(routerScores.length * capacity).fill(NaN)
  routerScores.forEach((s, expert) => all.set(s, expert * capacity))
  return memory.input(all)
}

/**
 * What the reference selects of a row, or undefined if float32 may decide otherwise than float64: if a value is so close
 * to the cut, or to where c becomes 0, that rounding could move it across. Equal values do no harm: they tie in both.
 */
function expectedOf(routerScores: Float32Array, visible: boolean[], count: number, rule: SelectionRule): Selected[] | undefined {
  const selected = select(routerScores, visible, count, rule)
  const seen = range(routerScores.length).filter((i) => visible[i])
  if (rule.selection === 'top-k' || seen.length <= count) return selected
  const { cut } = coordinateDescent(routerScores, visible, count, rule)
  const margin = 1e-5 * Math.max(...seen.map((i) => Math.abs(routerScores[i]!)), 1)
  const threshold = Math.min(...selected.map(({ index }) => cut[index]!))
  const below = seen.find((i) => cut[i]! < 0)
  const a = below === undefined ? Infinity : cut[below]! - routerScores[below]!
  const isClear = (i: number) => (cut[i] === threshold || Math.abs(cut[i]! - threshold) > margin) && Math.abs(routerScores[i]! + a) > margin
  return seen.every(isClear) ? selected : undefined
}

/** What the reference selects for windows 1, 2, … by each expert; undefined as in `expectedOf`. */
export function expectedQueries({ routerScores, windowSize, count, rule }: SelectionCase): (Selected[] | undefined)[][] {
  return routedWindows(routerScores, windowSize).map((window) => {
    const start = window * windowSize
    return routerScores.map((all) => {
      const row = new Float32Array(windowSize)
      row.set(all.subarray(start, start + windowSize))
      return expectedOf(
        row,
        range(windowSize).map((i) => start + i < all.length),
        count,
        rule,
      )
    })
  })
}

/** The same for key/values. */
export function expectedKeyValues({ routerScores, windowSize, count, rule }: SelectionCase): (Selected[] | undefined)[][] {
  const windows = routedWindows(routerScores, windowSize)
  const past = windows.length * windowSize
  return windows.map((window) => {
    const visible = range(past).map((i) => i < window * windowSize)
    return routerScores.map((all) => expectedOf(all.subarray(0, past), visible, count, rule))
  })
}

/** What a selection gives. */
export interface SelectedWindows {
  /** Of windows 1, 2, …, by expert. */
  readonly windows: readonly (readonly Selected[])[][]
  /** What the partitions worked in, one after the other. */
  readonly work: Int32Array
}

function routedWindows(routerScores: readonly Float32Array[], windowSize: number): number[] {
  return range(Math.ceil(routerScores[0]!.length / windowSize)).slice(1)
}

/** How many windows are routed. */
export function windowsOf({ routerScores, windowSize }: SelectionCase): number {
  return routedWindows(routerScores, windowSize).length
}

/** Runs a selection for windows 1, 2, …, so many of them at once. */
function runBatches(batches: readonly number[], sequenceRows: number, run: (chunk: Partial<Record<DispatchHeader, number>>) => void): void {
  let window = 1
  for (const windows of batches) {
    run({ [DispatchHeader.Window]: window, [DispatchHeader.Windows]: windows, [DispatchHeader.SequenceRows]: sequenceRows })
    window += windows
  }
}

/** The memory and the fields of `SelectQueries`. */
export function placeQueries(options: SelectionCase, partitions = 1) {
  const { routerScores, windowSize, count, rule } = options
  const experts = routerScores.length
  const length = routerScores[0]!.length
  const capacity = length + 5
  const workWords = HISTOGRAM_WORDS + 3 * windowSize + 8
  const memory = new OpMemory(options.misalignment)
  const writable = [{ first: windowSize, rows: experts, width: Math.max(0, length - windowSize), stride: capacity }]
  const queryMask = memory.output(experts * capacity, writable)
  const scores = memory.output(experts * capacity, writable)
  const work = memory.output(partitions * workWords)
  const fields = {
    routerScores: placeRouterScores(memory, routerScores, capacity),
    queryMask,
    scores,
    work,
    experts,
    count,
    windowSize,
    capacity,
    workBytes: workWords * 4,
    ...descentFields(rule),
  }
  return { memory, fields, queryMask, scores, work, capacity }
}

/**
 * What each expert takes of each window, by position in it.
 * @param batches how many windows each run handles; default all
 */
export function selectQueries(runtime: Runtime, options: SelectionCase, batches = [windowsOf(options)]): SelectedWindows {
  const { memory, fields, queryMask, scores, work, capacity } = placeQueries(options, runtime.device.partitions)
  const { routerScores, windowSize } = options
  const experts = routerScores.length
  const length = routerScores[0]!.length
  runBatches(batches, length, (chunk) => memory.run(runtime, Opcode.SelectQueries, fields, chunk))
  const [flags, carried] = [memory.ints(queryMask), memory.floats(scores)]
  const windows = range(windowsOf(options)).map((i) => {
    const start = (i + 1) * windowSize
    return range(experts).map((expert) => {
      const at = expert * capacity + start
      const candidates = Math.min(windowSize, length - start)
      expect(flags.subarray(at, at + candidates).every((flag) => flag === 0 || flag === 1)).toBe(true)
      const indices = range(candidates).filter((index) => flags[at + index])
      return indices.map((index) => ({ index, score: carried[at + index]! }))
    })
  })
  return { windows, work: memory.ints(work) }
}

/** The memory and the fields of `SelectKeyValues`. */
export function placeKeyValues(options: SelectionCase, partitions = 1) {
  const { routerScores, windowSize, count, rule } = options
  const experts = routerScores.length
  const length = routerScores[0]!.length
  const capacity = length + 5
  const past = windowsOf(options) * windowSize
  const listCapacity = Math.min(count, past)
  const workWords = HISTOGRAM_WORDS + Math.max(past, listCapacity + windowSize) + 8
  const memory = new OpMemory(options.misalignment)
  const blocks = range(windowsOf(options)).map((i) => {
    const width = Math.min(count, (i + 1) * windowSize)
    return { first: i * experts * listCapacity, rows: experts, width, stride: listCapacity }
  })
  const lists = memory.output(blocks.length * experts * listCapacity, blocks)
  const scores = memory.output(blocks.length * experts * listCapacity, blocks)
  const keyValueMask = memory.inputOutput(new Int32Array(experts * capacity), [{ rows: experts, width: past, stride: capacity }])
  const work = memory.output(partitions * workWords)
  const fields = {
    routerScores: placeRouterScores(memory, routerScores, capacity),
    lists,
    scores,
    keyValueMask,
    work,
    experts,
    count,
    windowSize,
    capacity,
    listCapacity,
    workBytes: workWords * 4,
    ...descentFields(rule),
  }
  return { memory, fields, blocks, listCapacity, lists, scores, keyValueMask, work, capacity }
}

/**
 * Each expert's key/values for each window, and every position that is one for some window.
 * @param batches how many windows each run handles; default all
 */
export function selectKeyValues(
  runtime: Runtime,
  options: SelectionCase,
  batches = [windowsOf(options)],
): SelectedWindows & { marks: number[][] } {
  const placed = placeKeyValues(options, runtime.device.partitions)
  const { memory, fields, blocks, listCapacity, lists, scores, keyValueMask, work, capacity } = placed
  const experts = options.routerScores.length
  const length = options.routerScores[0]!.length
  runBatches(batches, length, (chunk) => memory.run(runtime, Opcode.SelectKeyValues, fields, chunk))
  const [indices, carried, flags] = [memory.ints(lists), memory.floats(scores), memory.ints(keyValueMask)]
  const windows = blocks.map(({ first, width }) =>
    range(experts).map((expert) => {
      const at = first + expert * listCapacity
      return range(width).map((i) => ({ index: indices[at + i]!, score: carried[at + i]! }))
    }),
  )
  const marks = range(experts).map((expert) => range(length).filter((position) => flags[expert * capacity + position] === 1))
  return { windows, work: memory.ints(work), marks }
}

const schedule = { nIters: 20, fetchKRatio: 9 / 8, eps: 0.03, epsInit: 4, epsDecay: 0.7 }
/** Rules of every kind. */
export const selectionRules: Record<string, SelectionRule> = {
  'coordinate descent': { ...schedule, selection: 'coordinate-descent', straightThrough: true },
  'coordinate descent, scores carried': { ...schedule, selection: 'coordinate-descent', straightThrough: false },
  'top-k': { ...schedule, selection: 'top-k', straightThrough: true },
  'top-k, scores carried': { ...schedule, selection: 'top-k', straightThrough: false },
  'one pass of descent': { ...schedule, nIters: 1, selection: 'coordinate-descent', straightThrough: false },
  'a schedule that begins at its end, taking exactly k': {
    ...{ ...schedule, epsInit: 0.01, eps: 0.5, fetchKRatio: 1, nIters: 50 },
    selection: 'coordinate-descent',
    straightThrough: false,
  },
}

/** Rows of router scores of every kind. */
export const routerScoreKinds: Record<string, (length: number, seed: number) => Float32Array> = {
  'widely spread': (length, seed) => normals(length, seed).map((x) => 12 * x),
  narrow: (length, seed) => normals(length, seed).map((x) => 0.4 * x),
  'often tied': (length, seed) => Float32Array.from(integers(length, 7, seed), (i) => 1.5 * i - 4),
  equal: (length) => new Float32Array(length).fill(-0.75),
}
