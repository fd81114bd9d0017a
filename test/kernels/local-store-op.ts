/** `LocalStore`: its cases, their operands and a plain twin, for the kernels of every device. */
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import type { OpCase } from '../webgpu/op-comparison.js'
import { keyIndex, valueIndex } from './attention-twin.js'
import { normals, range, roundUpTo8 } from './float32.js'
import { OpMemory, Region } from './op-runner.js'

const { fround } = Math
const CAPACITY = 64

export interface LocalStoreCase {
  readonly heads: number
  readonly width: number
  readonly rows: number
  /** Where the first row's key goes, after the drop. */
  readonly index: number
  /** Keys dropped from the front before. */
  readonly dropped?: number
  readonly misalignment?: number
}

/** Heads narrower than a vector, of whole vectors, and of more than one panel. */
export const localStoreShapes = [
  { heads: 3, width: 2 },
  { heads: 2, width: 10 },
  { heads: 2, width: 16 },
  { heads: 4, width: 64 },
  { heads: 1, width: 128 },
] as const

/** None, one, a panel's tail, a full buffer; drops that overlap what is kept, or do not. */
export const localStorePlaces: readonly Pick<LocalStoreCase, 'rows' | 'index' | 'dropped'>[] = [
  { rows: 1, index: 0 },
  { rows: 0, index: 9 },
  { rows: 1, index: 30 },
  { rows: 17, index: 5 },
  { rows: 64, index: 0 },
  { rows: 9, index: 13, dropped: 8 },
  { rows: 1, index: 40, dropped: 24 },
  { rows: 30, index: 7, dropped: 56 },
  { rows: 3, index: 0, dropped: 16 },
]

function operandsOf({ heads, width, rows }: LocalStoreCase) {
  const inner = heads * roundUpTo8(width)
  const stride = 3 * inner + 8
  return {
    inner,
    stride,
    projected: normals(rows * stride, 1),
    keys: normals(inner * CAPACITY, 2),
    values: normals(inner * CAPACITY, 3),
    table: normals(rows * 2 * width, 4),
  }
}

export interface LocalStoreOp extends OpCase<Opcode.LocalStore> {
  readonly keys: Region
  readonly values: Region
  /** One for each row. */
  readonly queries: readonly Region[]
}

export function localStoreOp(options: LocalStoreCase): LocalStoreOp {
  const { heads, width, rows, index, dropped = 0, misalignment } = options
  const operands = operandsOf(options)
  const { inner, stride } = operands
  const memory = new OpMemory(misalignment)
  const projected = memory.inputOutput(operands.projected, [{ rows, width: 2 * inner, stride }])
  const keys = memory.inputOutput(operands.keys)
  const values = memory.inputOutput(operands.values)
  const fields = {
    projected,
    table: memory.input(operands.table),
    keys,
    values,
    stride,
    heads,
    headWidth: width,
    headStride: roundUpTo8(width),
    capacity: CAPACITY,
  }
  const chunk = {
    [DispatchHeader.Rows]: rows,
    [DispatchHeader.LocalIndex]: index,
    [DispatchHeader.LocalDrop]: dropped,
  }
  // keys may be rotated in place or not: they are not read from here
  const queries = range(rows).map((row) => new Region(projected.byteOffset + 4 * row * stride, inner))
  return { memory, opcode: Opcode.LocalStore, fields, chunk, floats: [keys, ...queries], exact: [values], keys, values, queries }
}

/** Each head of a row rotated, each operation rounded. */
function rotated(row: Float32Array, table: Float32Array, { heads, width }: LocalStoreCase): Float32Array {
  const out = row.slice()
  for (let head = 0; head < heads; head++) {
    for (let j = 0; j < width / 2; j++) {
      const [at, other] = [head * roundUpTo8(width) + j, head * roundUpTo8(width) + width / 2 + j]
      const [a, b] = [row[at]!, row[other]!]
      out[at] = fround(fround(a * table[j]!) - fround(b * table[width + j]!))
      out[other] = fround(fround(b * table[width / 2 + j]!) + fround(a * table[width + width / 2 + j]!))
    }
  }
  return out
}

/**
 * What the op should leave: keys and values in all places up to the last row's, and the rotated queries. The places after
 * that are undefined, as keys move by whole panels.
 */
export function stored(options: LocalStoreCase): { keys: Map<number, number>; values: Map<number, number>; queries: Float32Array[] } {
  const { heads, width, rows, index, dropped = 0 } = options
  const { inner, stride, ...operands } = operandsOf(options)
  const headStride = roundUpTo8(width)
  const part = (row: number, i: number) => operands.projected.slice(row * stride + i * inner, row * stride + (i + 1) * inner)
  const tableOf = (row: number) => operands.table.subarray(row * 2 * width, (row + 1) * 2 * width)
  const place = (where: typeof keyIndex, before: Float32Array, rowOf: (row: number) => Float32Array) => {
    const out = new Map<number, number>()
    const each = (key: number, valueOf: (head: number, channel: number) => number) => {
      for (let head = 0; head < heads; head++) {
        for (let channel = 0; channel < headStride; channel++)
          out.set(where(head, key, channel, headStride, CAPACITY), valueOf(head, channel))
      }
    }
    for (let key = 0; key < index; key++) each(key, (head, channel) => before[where(head, key + dropped, channel, headStride, CAPACITY)]!)
    for (const row of range(rows)) {
      const values = rowOf(row)
      each(index + row, (head, channel) => values[head * headStride + channel]!)
    }
    return out
  }
  return {
    keys: place(keyIndex, operands.keys, (row) => rotated(part(row, 1), tableOf(row), options)),
    values: place(valueIndex, operands.values, (row) => part(row, 2)),
    queries: range(rows).map((row) => rotated(part(row, 0), tableOf(row), options)),
  }
}
