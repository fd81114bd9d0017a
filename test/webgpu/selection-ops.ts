/** Ops that count, select and list, with the operands that they work on: all that they write is compared. */
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import { REQUESTED_ROWS, rangeWords } from '../../src/plan/ops/operands.js'
import { integers, range, roundUpTo8, spread } from '../kernels/float32.js'
import { placeKeyValues, placeQueries, type SelectionCase, windowsOf } from '../kernels/selection-runner.js'
import { int64Words } from '../kernels/int64.js'
import { OpMemory } from '../kernels/op-runner.js'
import type { OpCase } from './op-comparison.js'

type Rows = (length: number, seed: number) => Float32Array

export function chunkOf(options: SelectionCase, first = 1, windows = windowsOf(options)) {
  return {
    [DispatchHeader.Window]: first,
    [DispatchHeader.Windows]: windows,
    [DispatchHeader.SequenceRows]: options.routerScores[0]!.length,
  }
}

export function queriesOp(options: SelectionCase, chunk = chunkOf(options)): OpCase<Opcode.SelectQueries> {
  const { memory, fields, queryMask, scores } = placeQueries(options)
  return { memory, opcode: Opcode.SelectQueries, fields, chunk, exact: [queryMask], floats: [scores] }
}

export function keyValuesOp(options: SelectionCase, chunk = chunkOf(options)): OpCase<Opcode.SelectKeyValues> {
  const { memory, fields, lists, scores, keyValueMask } = placeKeyValues(options)
  const written = { exact: [lists, keyValueMask], floats: [scores] }
  return { memory, opcode: Opcode.SelectKeyValues, fields, chunk, ...written }
}

/**
 * `AssignSlots` over three experts' rows of 8,600 places, of which `length` count.
 * @param density one of so many is chosen, about
 * @param stride where each expert's numbers begin; 0: they run on
 */
export function slotsOp(length: number, density: number, stride = 0): OpCase<Opcode.AssignSlots> {
  const [experts, capacity] = [3, 8600]
  const marks = integers(experts * capacity, density, length).map((mark) => Number(mark === 1))
  const chosenOf = (expert: number) => marks.subarray(expert * capacity, expert * capacity + length).filter(Boolean).length
  const listed = range(experts).map((expert) => ({ first: expert * stride, width: chosenOf(expert) }))
  const all = listed.reduce((sum, { width }) => sum + width, 0)
  const memory = new OpMemory(4)
  const slots = memory.inputOutput(marks, [{ rows: experts, width: length, stride: capacity }])
  const positions = stride > 0 ? memory.output(experts * stride, listed) : memory.output(all)
  const counts = memory.output(experts)
  const fields = {
    slots,
    positions,
    counts,
    experts,
    capacity,
    stride,
  }
  const exact = [slots, positions, counts]
  return { memory, opcode: Opcode.AssignSlots, fields, chunk: { [DispatchHeader.SequenceRows]: length }, exact }
}

/** Some rows of a chunk. */
interface RequestedRange {
  readonly first: number
  readonly rows: number
}

/** Where an op reads which they are, and what the header says of them. */
const { rows: requestedRows, first: requestedFirst } = rangeWords(REQUESTED_ROWS)
const headerOf = ({ first, rows }: RequestedRange) => ({ [DispatchHeader.RequestedFirst]: first, [DispatchHeader.RequestedRows]: rows })

/** `RouteCausal` for `rows` rows of a window from its row `offset` on; @param routed 0 in window 0 */
export function routeOp(
  draw: Rows,
  window: number,
  count: number,
  offset: number,
  rows: number,
  routed = 1,
  requested: RequestedRange = { first: 0, rows },
): OpCase<Opcode.RouteCausal> {
  const [capacity, rowCapacity] = [window + 3, rows + 2]
  const all = range(3).flatMap((r) => [...draw(window, r + 1)])
  const memory = new OpMemory()
  const writable = { rows: 3, width: routed * requested.rows, stride: rowCapacity }
  const lists = memory.output(3 * rowCapacity, [writable])
  const slots = memory.output(3 * rowCapacity, [{ ...writable, first: requested.first }])
  const counts = memory.output(3)
  const fields = {
    rows: requestedRows,
    first: requestedFirst,
    routerScores: memory.input(spread(Float32Array.from(all), window, capacity)),
    lists,
    slots,
    counts,
    experts: 3,
    count,
    capacity,
    rowCapacity,
  }
  const chunk = {
    [DispatchHeader.Rows]: rows,
    ...headerOf(requested),
    [DispatchHeader.WindowOffset]: offset,
    [DispatchHeader.Routed]: routed,
  }
  return { memory, opcode: Opcode.RouteCausal, fields, chunk, exact: [lists, slots, counts] }
}

/** `SelectContext` of `count` places, of which `before` are held, when a window closes; @param closes 0: it does not */
export function contextOp(draw: Rows, before: number, window: number, count: number, closes = 1): OpCase<Opcode.SelectContext> {
  const capacity = roundUpTo8(count + 1)
  // its tokens' positions go on from one lower word to the next
  const start = 5 * 2 ** 32 - 3
  const rows = (width: number, seed: number) => range(3).flatMap((r) => [...draw(width, seed + r)])
  const memory = new OpMemory(8)
  const places = [{ rows: 3, width: closes * Math.min(count, before + window), stride: capacity }]
  const held = new Float32Array(3 * capacity).fill(NaN)
  const positions = Array<number>(3 * capacity).fill(-7)
  for (const r of range(3)) {
    held.set(draw(before, r + 1), r * capacity)
    for (const i of range(before)) positions[r * capacity + i] = start - 1000 + 3 * i + r
  }
  const contextRouterScores = memory.inputOutput(held, places)
  const contextPositions = memory.inputOutput(
    int64Words(positions),
    places.map((place) => ({ ...place, width: 2 * place.width, stride: 2 * capacity })),
  )
  const retained = memory.output(3 * capacity, [{ rows: 3, width: closes * before, stride: capacity }])
  const admitted = memory.output(3 * window, [{ width: closes * 3 * window }])
  const counts = [memory.output(3), memory.output(3)] as const
  const workBytes = 1024 + 8 * (capacity + window)
  const fields = {
    routerScores: memory.input(Float32Array.from(rows(window, 11))),
    contextRouterScores,
    contextPositions,
    retained,
    retainedCounts: counts[0],
    admitted,
    admittedCounts: counts[1],
    candidates: memory.output((3 * workBytes) / 4),
    experts: 3,
    count,
    contextCapacity: capacity,
    window,
    workBytes,
  }
  const chunk = {
    [DispatchHeader.ClosingRows]: closes,
    [DispatchHeader.ClosingContextCount]: before,
    [DispatchHeader.ClosingPosition]: start,
  }
  const exact = [contextRouterScores, contextPositions, retained, admitted, ...counts]
  return { memory, opcode: Opcode.SelectContext, fields, chunk, exact }
}
