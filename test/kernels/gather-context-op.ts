/** `GatherContext`: its cases, their operands and a plain twin, for the kernels of every device. */
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import type { OpCase } from '../webgpu/op-comparison.js'
import { keyIndex, packHeads, valueIndex } from './attention-twin.js'
import { integers, normals, range } from './float32.js'
import { interleave, type KeyValues, keyValuesOf } from './key-value-pairs.js'
import { headShapes, type HeadShape } from './op-cases.js'
import { OpMemory, type Region } from './op-runner.js'

const { fround } = Math
const EXPERTS = 2
const LIST_CAPACITY = 19
const SEQUENCE_CAPACITY = 80
const CAPACITY = 24
/** Tokens of the sequence whose keys and values were projected. */
const CHOSEN = 30

export interface GatherCase {
  readonly shape: HeadShape
  readonly expert: number
  /** The chunk's first window. */
  readonly window: number
  /** Key/values of each of the chunk's windows, the null one not counted, as an operand; or of its only one, in the header. */
  readonly visible: readonly number[] | number
  /** Whether the chunk begins a window; default: true. */
  readonly opens?: boolean
  /** Whether it is routed; default: true. */
  readonly routed?: boolean
  readonly misalignment?: number
}

/** Windows alone and several at once; window 0, which has no context; none, a panel's tail, whole panels. */
export const gatherCases: readonly GatherCase[] = headShapes.flatMap((shape) => [
  ...(
    [
      [1, 0, 11],
      [3, 1, 9],
      [2, 1, 0],
      [2, 0, 10],
      [1, 1, 8],
      [3, 1, 17],
    ] as const
  ).flatMap(([window, expert, visible]) => [
    { shape, expert, window, visible },
    { shape, expert, window, visible, opens: false },
    { shape, expert, window, visible, routed: false },
  ]),
  ...(
    [
      [1, [19]],
      [0, [7]],
      [0, [0, 8, 15]],
      [2, [0, 19]],
    ] as const
  ).map(([window, visible]) => ({ shape, expert: 1, window, visible })),
  { shape, expert: 1, window: 3, visible: [8], routed: false },
  { shape, expert: 1, window: 3, visible: [8], opens: false },
])

const operands = new Map(headShapes.map((shape) => [shape, makeOperands(shape)]))

function makeOperands(shape: HeadShape) {
  const windows = 4
  return {
    lists: integers(windows * EXPERTS * LIST_CAPACITY, SEQUENCE_CAPACITY, 7),
    scores: normals(windows * EXPERTS * LIST_CAPACITY, 8),
    slots: integers(EXPERTS * SEQUENCE_CAPACITY, CHOSEN, 6),
    projected: keyValuesOf(CHOSEN, shape, 4),
    null: keyValuesOf(1, shape, 5),
  }
}

const windowsOf = ({ visible }: GatherCase) => (typeof visible === 'number' ? [visible] : visible)

export function gatherContextOp(options: GatherCase): OpCase<Opcode.GatherContext> & { readonly keys: Region; readonly values: Region } {
  const { shape, expert, window, visible, opens = true, routed = true, misalignment } = options
  const { heads, headStride } = shape
  const { lists, scores, slots, projected, null: pair } = operands.get(shape)!
  const windows = windowsOf(options)
  const memory = new OpMemory(misalignment)
  const contextStride = heads * headStride * CAPACITY
  const place = () => memory.inputOutput(new Float32Array(windows.length * contextStride).fill(NaN))
  const keys = place()
  const values = place()
  const fields = {
    lists: memory.input(lists),
    scores: memory.input(scores),
    slots: memory.input(slots),
    keyValues: memory.input(interleave(projected)),
    null: memory.input(interleave(pair)),
    keys,
    values,
    expert,
    experts: EXPERTS,
    listCapacity: LIST_CAPACITY,
    sequenceCapacity: SEQUENCE_CAPACITY,
    heads,
    headStride,
    capacity: CAPACITY,
    ...(typeof visible === 'object' && { ends: memory.input(Int32Array.from(visible)), contextStride }),
  }
  const chunk = {
    [DispatchHeader.WindowStart]: Number(opens),
    [DispatchHeader.Routed]: Number(routed),
    [DispatchHeader.Window]: window,
    ...(typeof visible === 'object' && { [DispatchHeader.Windows]: visible.length }),
    // read only if there is no such operand
    [DispatchHeader.ContextCount]: typeof visible === 'number' ? visible : CAPACITY - 7,
  }
  return { memory, opcode: Opcode.GatherContext, fields, chunk, exact: [keys, values], keys, values }
}

/** What the op should leave in the contexts: NaN in every free place. */
export function gathered(options: GatherCase): { keys: Float32Array; values: Float32Array } {
  const { shape, expert, window, opens = true, routed = true } = options
  const { heads, headStride } = shape
  const { lists, scores, slots, projected, null: pair } = operands.get(shape)!
  const contexts = windowsOf(options).map((count, z): KeyValues => {
    if (!opens || !routed || window + z === 0) return { keys: [], values: [] }
    const first = ((window + z - 1) * EXPERTS + expert) * LIST_CAPACITY
    const listed = range(count).map((i) => ({
      slot: slots[expert * SEQUENCE_CAPACITY + lists[first + i]!]!,
      score: scores[first + i]!,
    }))
    return {
      keys: [pair.keys[0]!, ...listed.map(({ slot }) => projected.keys[slot]!)],
      values: [pair.values[0]!, ...listed.map(({ slot, score }) => projected.values[slot]!.map((x) => fround(x * score)))],
    }
  })
  const pack = (index: typeof keyIndex, rows: readonly (readonly Float32Array[])[]) =>
    Float32Array.from(rows.flatMap((context) => [...packHeads(index, context, heads, headStride, CAPACITY)]))
  return {
    keys: pack(
      keyIndex,
      contexts.map(({ keys }) => keys),
    ),
    values: pack(
      valueIndex,
      contexts.map(({ values }) => values),
    ),
  }
}
