/** `ListQueries`: its cases, their operands and a plain twin, for the kernels of every device. */
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import { REQUESTED_ROWS, rangeWords } from '../../src/plan/ops/operands.js'
import type { OpCase } from '../webgpu/op-comparison.js'
import { integers, normals, range } from './float32.js'
import { OpMemory, type Region } from './op-runner.js'

export interface ListCase {
  /** Position of the chunk's first row; with `windows`, a window begins there. */
  readonly position: number
  readonly rows: number
  /** Windows that the chunk consists of, the last of which may be shorter; default: it lies within one. */
  readonly windows?: { readonly size: number; readonly count: number }
  /** Whether any row of the chunk is routed; default: true. */
  readonly routed?: boolean
  /** The rows whose outputs are requested; default: all. */
  readonly requested?: { readonly first: number; readonly rows: number }
  readonly misalignment?: number
}

/** A chunk of `count` windows of `size`, from window `first` on. */
function windowed(first: number, size: number, count: number, rows = size * count): ListCase {
  return { position: first * size, rows, windows: { size, count }, routed: first > 0 || count > 1 }
}

/** Chunks within a window, and of several; of window 0; with only some rows requested; longer than a workgroup. */
export const listCases: readonly ListCase[] = [
  { position: 0, rows: 12 },
  { position: 9, rows: 1 },
  { position: 38, rows: 12 },
  { position: 20, rows: 0 },
  { position: 3, rows: 12, routed: false },
  ...[
    { first: 11, rows: 1 },
    { first: 3, rows: 5 },
    { first: 0, rows: 0 },
  ].map((requested) => ({ position: 9, rows: 12, requested })),
  windowed(0, 300, 1),
  windowed(0, 100, 6),
  windowed(3, 100, 6, 590),
  windowed(2, 7, 40),
  windowed(1, 1, 300),
  ...[
    { first: 589, rows: 1 },
    { first: 130, rows: 300 },
    { first: 0, rows: 0 },
  ].map((requested) => ({ ...windowed(0, 100, 6), requested })),
]

const EXPERTS = 3
/** Key/values that an expert takes. */
const KEY_VALUES = 150

function operandsOf({ position, rows }: ListCase) {
  const capacity = position + rows + 5
  return { capacity, mask: integers(EXPERTS * capacity, 2, 7), scores: normals(EXPERTS * capacity, 8) }
}

export interface ListRegions {
  readonly lists: Region
  readonly slots: Region
  readonly counts: Region
  readonly listScores: Region
  readonly starts: Region | undefined
  readonly ends: Region | undefined
}

/** Rows of an expert's list and slots: with some to spare. */
const capacityOf = ({ rows }: ListCase) => rows + 2

export function listQueriesOp(options: ListCase): OpCase<Opcode.ListQueries> & { readonly regions: ListRegions } {
  const { position, rows, windows, routed = true, requested = { first: 0, rows }, misalignment } = options
  const { capacity, mask, scores } = operandsOf(options)
  const rowCapacity = capacityOf(options)
  const memory = new OpMemory(misalignment)
  // a place beyond a list's end keeps what it held, but may be written
  const writable = [{ rows: EXPERTS, width: routed ? rows : 0, stride: rowCapacity }]
  const regions = {
    lists: memory.inputOutput(new Int32Array(EXPERTS * rowCapacity), writable),
    slots: memory.inputOutput(new Int32Array(EXPERTS * rowCapacity), writable),
    counts: memory.output(EXPERTS),
    listScores: memory.inputOutput(new Float32Array(EXPERTS * rowCapacity), writable),
    starts: windows && memory.output(EXPERTS * (windows.count + 1)),
    ends: windows && memory.output(windows.count),
  }
  const fields = {
    ...rangeWords(REQUESTED_ROWS),
    queryMask: memory.input(mask),
    scores: memory.input(scores),
    ...regions,
    experts: EXPERTS,
    capacity,
    rowCapacity,
    ...(windows && { startCapacity: windows.count + 1, windowSize: windows.size, keyValues: KEY_VALUES }),
  }
  const chunk = {
    [DispatchHeader.Rows]: rows,
    [DispatchHeader.RequestedFirst]: requested.first,
    [DispatchHeader.RequestedRows]: requested.rows,
    [DispatchHeader.Routed]: Number(routed),
    [DispatchHeader.Unrouted]: unroutedOf(options),
    [DispatchHeader.Window]: windows ? position / windows.size : 1,
    [DispatchHeader.Windows]: windows?.count ?? 1,
    [DispatchHeader.Position]: position,
  }
  const exact = Object.values(regions).filter((region) => region !== undefined)
  return { memory, opcode: Opcode.ListQueries, fields, chunk, exact, regions }
}

/** Rows of window 0 at the chunk's front; a chunk within a window says only whether it is routed. */
function unroutedOf({ position, rows, windows }: ListCase): number {
  return windows ? Math.max(0, Math.min(rows, windows.size - position)) : 0
}

/** What the op should give, by expert: lists, the scores that they carry, and the slot of each row, -1 for none. */
export function listed(options: ListCase) {
  const { position, rows, windows, routed = true, requested = { first: 0, rows } } = options
  const { capacity, mask, scores } = operandsOf(options)
  const first = Math.max(requested.first, unroutedOf(options))
  const isListed = (expert: number, row: number) =>
    routed && row >= first && row < requested.first + requested.rows && mask[expert * capacity + position + row] === 1
  const lists = range(EXPERTS).map((expert) => range(rows).filter((row) => isListed(expert, row)))
  return {
    lists,
    slots: lists.map((list) => (routed ? range(rows).map((row) => list.indexOf(row)) : [])),
    scores: lists.map((list, expert) => list.map((row) => scores[expert * capacity + position + row]!)),
    /** Where each window's rows begin in the list, and where the last one's end. */
    starts: windows && lists.map((list) => range(windows.count + 1).map((z) => list.filter((row) => row < z * windows.size).length)),
    ends: windows && range(windows.count).map((z) => Math.min(KEY_VALUES, position + z * windows.size)),
  }
}

/** What the op gave, as `listed` has it. */
export function readLists(options: ListCase, memory: OpMemory, { lists, slots, counts, listScores, starts, ends }: ListRegions) {
  const { rows, windows, routed = true } = options
  const stride = capacityOf(options)
  const lengths = [...memory.ints(counts)]
  const cut = <T>(values: Iterable<T>, length: (expert: number) => number, step = stride) => {
    const all = [...values]
    return range(EXPERTS).map((expert) => all.slice(expert * step, expert * step + length(expert)))
  }
  return {
    lists: cut(memory.ints(lists), (expert) => lengths[expert]!),
    slots: cut(memory.ints(slots), () => (routed ? rows : 0)),
    scores: cut(memory.floats(listScores), (expert) => lengths[expert]!),
    starts: starts && cut(memory.ints(starts), () => windows!.count + 1, windows!.count + 1),
    ends: ends && [...memory.ints(ends)],
  }
}
