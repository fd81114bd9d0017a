/** `NullContext` and `UpdateContext`: cases, operands and plain twins, for the kernels of every device. */
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import type { OpCase } from '../webgpu/op-comparison.js'
import { keyIndex, packHeads, valueIndex } from './attention-twin.js'
import { range } from './float32.js'
import { interleave, type KeyValues, keyValuesOf } from './key-value-pairs.js'
import { contextUpdates, headShapes, type HeadShape } from './op-cases.js'
import { OpMemory, type Region } from './op-runner.js'

/** Ranks that a context has room for. */
const CAPACITY = 136

export interface UpdateCase {
  readonly shape: HeadShape
  /** Key/values that the context has, the null one not counted. */
  readonly before: number
  /** Those that stay, by rank; or how many of the first, without a list. */
  readonly retained: readonly number[] | number
  readonly admitted: number
}

export const updateCases: readonly UpdateCase[] = headShapes.flatMap((shape) => [
  ...contextUpdates.map(([before, retained, admitted]) => ({ shape, before, retained, admitted })),
  ...(
    [
      [9, 5, 7],
      [0, 0, 5],
      [9, 9, 40],
      [64, 64, 64],
    ] as const
  ).map(([before, retained, admitted]) => ({ shape, before, retained, admitted })),
])

interface ContextOp<O extends Opcode.NullContext | Opcode.UpdateContext> extends OpCase<O> {
  readonly keys: Region
  readonly values: Region
}

const noKeyValues: KeyValues = { keys: [], values: [] }

/** A context's packed keys and values, its free places NaN. */
function placeContext(memory: OpMemory, { keys, values }: KeyValues, { heads, headStride }: HeadShape) {
  return {
    keys: memory.inputOutput(packHeads(keyIndex, keys, heads, headStride, CAPACITY)),
    values: memory.inputOutput(packHeads(valueIndex, values, heads, headStride, CAPACITY)),
  }
}

const nullOf = (shape: HeadShape) => keyValuesOf(1, shape, 1)

export function nullContextOp(shape: HeadShape, misalignment = 0): ContextOp<Opcode.NullContext> {
  const { heads, headStride } = shape
  const memory = new OpMemory(misalignment)
  const { keys, values } = placeContext(memory, noKeyValues, shape)
  const fields = { null: memory.input(interleave(nullOf(shape))), keys, values, heads, headStride, capacity: CAPACITY }
  return { memory, opcode: Opcode.NullContext, fields, exact: [keys, values], keys, values }
}

/** What `nullContextOp` should leave: NaN in every free place. */
export const opened = (shape: HeadShape) => packed(shape, nullOf(shape), noKeyValues)

const operandsOf = ({ shape, before, admitted }: UpdateCase) => ({
  old: keyValuesOf(before + 1, shape, 2),
  added: keyValuesOf(admitted, shape, 3),
})

export function updateContextOp(options: UpdateCase, misalignment = 0): ContextOp<Opcode.UpdateContext> {
  const { shape, retained, admitted } = options
  const { heads, headStride } = shape
  const { old, added } = operandsOf(options)
  const memory = new OpMemory(misalignment)
  const { keys, values } = placeContext(memory, old, shape)
  const fields = {
    ...(typeof retained === 'object' && { retained: memory.input(Int32Array.from(retained)) }),
    retainedCount: memory.count(typeof retained === 'object' ? retained.length : retained),
    admittedCount: memory.count(admitted),
    projected: memory.input(interleave(added)),
    keys,
    values,
    heads,
    headStride,
    capacity: CAPACITY,
  }
  const chunk = { [DispatchHeader.ClosingRows]: 1 }
  return { memory, opcode: Opcode.UpdateContext, fields, chunk, exact: [keys, values], keys, values }
}

/** What `updateContextOp` should leave; ranks after the last keep what they held. */
export function updated(options: UpdateCase): { keys: Float32Array; values: Float32Array } {
  const { old, added } = operandsOf(options)
  const ranks = typeof options.retained === 'object' ? options.retained : range(options.retained)
  const joined = (rows: readonly Float32Array[], fresh: readonly Float32Array[]) => [
    rows[0]!,
    ...ranks.map((rank) => rows[rank + 1]!),
    ...fresh,
  ]
  return packed(options.shape, { keys: joined(old.keys, added.keys), values: joined(old.values, added.values) }, old)
}

/** A context's key/values, in front of what its places held before. */
function packed({ heads, headStride }: HeadShape, ranks: KeyValues, before: KeyValues) {
  const pack = (index: typeof keyIndex, rows: readonly Float32Array[], held: readonly Float32Array[]) =>
    packHeads(index, [...rows, ...held.slice(rows.length)], heads, headStride, CAPACITY)
  return { keys: pack(keyIndex, ranks.keys, before.keys), values: pack(valueIndex, ranks.values, before.values) }
}
