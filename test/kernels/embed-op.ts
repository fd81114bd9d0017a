/** `Embed` of float32 tables: its cases, their operands and a plain twin, for the kernels of every device. */
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import { WeightFormat } from '../../assembly/ir/values.js'
import type { OpCase } from '../webgpu/op-comparison.js'
import { integers, normals, roundUpTo8 } from './float32.js'
import { rowWidths } from './op-cases.js'
import { OpMemory, type Region } from './op-runner.js'

const { fround } = Math
const VOCABULARY = 11
/** Rows of the table of positions. */
const POSITIONS = 20

export interface EmbedCase {
  readonly stride: number
  readonly rows: number
  /** Of the chunk's first token; undefined: there is no table of positions. */
  readonly position?: number
  readonly misalignment?: number
}

/** Rows of every width; none, one, several; without positions, at the first and up to the last. */
export const embedCases: readonly EmbedCase[] = [...new Set(rowWidths.map(roundUpTo8))].flatMap((stride) => [
  { stride, rows: 0, position: 0 },
  { stride, rows: 1, position: 19 },
  { stride, rows: 7 },
  { stride, rows: 13 },
  { stride, rows: 13, position: 0 },
  { stride, rows: 13, position: 7 },
])

const operandsOf = ({ stride, rows }: EmbedCase) => ({
  ids: integers(rows, VOCABULARY, rows),
  tokens: normals(VOCABULARY * stride, 1),
  positions: normals(POSITIONS * stride, 2),
})

export function embedOp(options: EmbedCase): OpCase<Opcode.Embed> & { readonly output: Region } {
  const { stride, rows, position, misalignment } = options
  const { ids, tokens, positions } = operandsOf(options)
  const memory = new OpMemory(misalignment)
  const output = memory.output(rows * stride)
  const fields = {
    rows: memory.count(rows),
    tokenIds: memory.input(ids),
    tokens: memory.input(tokens),
    positions: position === undefined ? undefined : memory.input(positions),
    output,
    stride,
    tokensFormat: WeightFormat.Float32,
  }
  // without a table, a position that no table has
  const chunk = { [DispatchHeader.Rows]: rows, [DispatchHeader.Position]: position ?? 2 ** 40 }
  return { memory, opcode: Opcode.Embed, fields, chunk, exact: [output], output }
}

/** What the op should write. */
export function embedded(options: EmbedCase): Float32Array {
  const { stride, rows, position } = options
  const { ids, tokens, positions } = operandsOf(options)
  return Float32Array.from({ length: rows * stride }, (_, i) => {
    const [row, column] = [Math.floor(i / stride), i % stride]
    const value = tokens[ids[row]! * stride + column]!
    return position === undefined ? value : fround(value + positions[(position + row) * stride + column]!)
  })
}
