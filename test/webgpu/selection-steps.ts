/** Steps that count, select and list, with the operands that they work on: all that they write is compared. */
import {
  AssignSlots,
  ListQueries,
  Opcode,
  Piece,
  RouteCausal,
  SelectContext,
  SelectKeyValues,
  SelectQueries,
} from '../../assembly/steps.js'
import { ANSWERED_ROWS, rangeWords } from '../../src/plan/layer-steps.js'
import { createRandom } from '../../src/random.js'
import { integers, normals, range, roundUpTo8, spread } from '../kernels/float32.js'
import { placeKeyValues, placeQueries, similarityKinds, type SelectionCase, windowsOf } from '../kernels/selection-runner.js'
import { StepMemory } from '../kernels/step-runner.js'
import type { StepCase } from './step-comparison.js'

type Rows = (length: number, seed: number) => Float32Array

/** Rows of similarities of every kind. */
export const kinds: Readonly<Record<string, Rows>> = {
  ...similarityKinds,
  'zero or not': (length, seed) => Float32Array.from(integers(length, 2, seed)),
}

/** And such as a routing that never looks ahead may meet. */
export const causalKinds: Readonly<Record<string, Rows>> = {
  ...kinds,
  ascending: (length) => Float32Array.from(range(length)),
  descending: (length) => Float32Array.from(range(length), (i) => -i),
  'of every magnitude': (length, seed) => normals(length, seed).map((x, i) => x * 10 ** (((i * 11) % 70) - 38)),
}

export function pieceOf(options: SelectionCase, first = 1, windows = windowsOf(options)) {
  return { [Piece.Window]: first, [Piece.Windows]: windows, [Piece.SequenceRows]: options.similarities[0]!.length }
}

export function queriesStep(options: SelectionCase, piece = pieceOf(options)): StepCase {
  const { memory, words, taken, scores } = placeQueries(options)
  return { memory, opcode: Opcode.SelectQueries, length: SelectQueries.Length, words, piece, exact: [taken], floats: [scores] }
}

export function keyValuesStep(options: SelectionCase, piece = pieceOf(options)): StepCase {
  const { memory, words, lists, scores, chosen } = placeKeyValues(options)
  const written = { exact: [lists, chosen], floats: [scores] }
  return { memory, opcode: Opcode.SelectKeyValues, length: SelectKeyValues.Length, words, piece, ...written }
}

/**
 * `AssignSlots` over three experts' rows of 8,600 places, of which `length` count.
 * @param density one of so many is chosen, about
 * @param stride where each expert's numbers begin; 0: they run on
 */
export function slotsStep(length: number, density: number, stride = 0): StepCase {
  const [experts, capacity] = [3, 8600]
  const marks = integers(experts * capacity, density, length).map((mark) => Number(mark === 1))
  const chosenOf = (expert: number) => marks.subarray(expert * capacity, expert * capacity + length).filter(Boolean).length
  const listed = range(experts).map((expert) => ({ first: expert * stride, width: chosenOf(expert) }))
  const all = listed.reduce((sum, { width }) => sum + width, 0)
  const memory = new StepMemory(4)
  const chosen = memory.inputOutput(marks, [{ rows: experts, width: length, stride: capacity }])
  const positions = stride > 0 ? memory.output(experts * stride, listed) : memory.output(all)
  const counts = memory.output(experts)
  const words = {
    [AssignSlots.Chosen]: chosen,
    [AssignSlots.Positions]: positions,
    [AssignSlots.Counts]: counts,
    [AssignSlots.Experts]: experts,
    [AssignSlots.Capacity]: capacity,
    [AssignSlots.Stride]: stride,
  }
  const exact = [chosen, positions, counts]
  return { memory, opcode: Opcode.AssignSlots, length: AssignSlots.Length, words, piece: { [Piece.SequenceRows]: length }, exact }
}

/** Some rows of a piece. */
interface Answered {
  readonly first: number
  readonly rows: number
}

/** Where a step reads which they are, and what the header says of them. */
const { rows: answeredRows, first: answeredFirst } = rangeWords(ANSWERED_ROWS)
const headerOf = ({ first, rows }: Answered) => ({ [Piece.AnswerFirst]: first, [Piece.AnswerRows]: rows })

/** `RouteCausal` for `rows` rows of a window from its row `offset` on; @param routed 0 in window 0 */
export function routeStep(
  similarity: Rows,
  window: number,
  count: number,
  offset: number,
  rows: number,
  routed = 1,
  answered: Answered = { first: 0, rows },
): StepCase {
  const [capacity, rowCapacity] = [window + 3, rows + 2]
  const all = range(3).flatMap((r) => [...similarity(window, r + 1)])
  const memory = new StepMemory()
  const writable = { rows: 3, width: routed * answered.rows, stride: rowCapacity }
  const lists = memory.output(3 * rowCapacity, [writable])
  const slots = memory.output(3 * rowCapacity, [{ ...writable, first: answered.first }])
  const counts = memory.output(3)
  const words = {
    [RouteCausal.Rows]: answeredRows,
    [RouteCausal.First]: answeredFirst,
    [RouteCausal.Similarities]: memory.input(spread(Float32Array.from(all), window, capacity)),
    [RouteCausal.Lists]: lists,
    [RouteCausal.Slots]: slots,
    [RouteCausal.Counts]: counts,
    [RouteCausal.Experts]: 3,
    [RouteCausal.Count]: count,
    [RouteCausal.Capacity]: capacity,
    [RouteCausal.RowCapacity]: rowCapacity,
  }
  const piece = { [Piece.Rows]: rows, ...headerOf(answered), [Piece.WindowOffset]: offset, [Piece.Routed]: routed }
  return { memory, opcode: Opcode.RouteCausal, length: RouteCausal.Length, words, piece, exact: [lists, slots, counts] }
}

/** `SelectContext` of `count` places, of which `before` are held, when a window closes; @param closes 0: it does not */
export function contextStep(similarity: Rows, before: number, window: number, count: number, closes = 1): StepCase {
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

/** `ListQueries` for a piece of `rows` rows, `windows` windows of `size` from `window` on. */
export function listStep(window: number, size: number, windows: number, rows: number, answered: Answered = { first: 0, rows }): StepCase {
  const experts = 2
  const { uniform } = createRandom(rows)
  const position = window * size
  const capacity = position + rows + 5
  const memory = new StepMemory()
  const taken = Int32Array.from({ length: experts * capacity }, () => Number(uniform() < 0.4))
  const places = (expert: number) => ({ first: expert * rows, width: rows })
  const lists = [0, 1].map(() => memory.inputOutput(new Int32Array(experts * rows), [places(0), places(1)]))
  const listScores = memory.inputOutput(new Float32Array(experts * rows), [places(0), places(1)])
  const counts = memory.output(experts)
  const starts = memory.output(experts * (windows + 1))
  const ends = memory.output(windows)
  const words = {
    [ListQueries.Rows]: answeredRows,
    [ListQueries.First]: answeredFirst,
    [ListQueries.Taken]: memory.input(taken),
    [ListQueries.Scores]: memory.input(Float32Array.from(taken, uniform)),
    [ListQueries.Lists]: lists[0]!,
    [ListQueries.Slots]: lists[1]!,
    [ListQueries.Counts]: counts,
    [ListQueries.ListScores]: listScores,
    [ListQueries.Experts]: experts,
    [ListQueries.Capacity]: capacity,
    [ListQueries.RowCapacity]: rows,
    [ListQueries.Starts]: starts,
    [ListQueries.Ends]: ends,
    [ListQueries.StartCapacity]: windows + 1,
    [ListQueries.WindowSize]: size,
    [ListQueries.KeyValues]: 150,
  }
  const piece = {
    [Piece.Rows]: rows,
    ...headerOf(answered),
    [Piece.Routed]: Number(position + rows > size),
    [Piece.Unrouted]: Math.max(0, Math.min(rows, size - position)),
    [Piece.Window]: window,
    [Piece.Windows]: windows,
    [Piece.Position]: position,
  }
  // of window 0 nothing is listed, and what lies there stays
  const exact = piece[Piece.Routed] ? [...lists, listScores, counts, starts, ends] : [counts, starts, ends]
  return { memory, opcode: Opcode.ListQueries, length: ListQueries.Length, words, piece, exact }
}
