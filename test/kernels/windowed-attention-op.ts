/** `Attention` window by window, each to a context of its own: its cases, their operands and a plain twin. */
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import { MAX_TILE_ROWS } from '../../assembly/ir/sizes.js'
import { createRandom } from '../../src/random.js'
import type { OpCase } from '../webgpu/op-comparison.js'
import { attention, headRows, keyIndex, packHeads, valueIndex } from './attention-twin.js'
import { OpMemory, type Region } from './op-runner.js'

const shape = { heads: 2, width: 10, headStride: 16 } as const
const CAPACITY = 24
/** Maximum rows of a window. */
const CONTEXT_ROWS = 20
const inner = shape.heads * shape.headStride

/** Rows of each window: one window, several, none in some, more than a tile. */
export const windowedRows: readonly (readonly number[])[] = [[3], [0, 5, 20], [17, 0, 1, 4]]

const rowsOf = (count: number, seed: number) => headRows(count, shape.heads, shape.width, shape.headStride, createRandom(seed).normal)
const total = (counts: readonly number[]) => counts.reduce((sum, count) => sum + count, 0)

function operandsOf(counts: readonly number[]) {
  const contexts = counts.map((_, z) => {
    const end = (z * 11) % CAPACITY
    return { end, keys: rowsOf(end + 1, 7 * z), values: rowsOf(end + 1, 7 * z + 1) }
  })
  return { queries: rowsOf(total(counts), 1), contexts }
}

/** @param partitions that share the working memory */
export function windowedAttentionOp(
  counts: readonly number[],
  { partitions = 1, misalignment = 0 } = {},
): OpCase<Opcode.Attention> & { readonly output: Region } {
  const { queries, contexts } = operandsOf(counts)
  const starts = [0, ...counts].map((_, z) => total(counts.slice(0, z)))
  const memory = new OpMemory(misalignment)
  const packed = (index: typeof keyIndex, part: 'keys' | 'values') =>
    Float32Array.from(contexts.flatMap((context) => [...packHeads(index, context[part], shape.heads, shape.headStride, CAPACITY)]))
  const output = memory.output(queries.length * inner)
  const fields = {
    rows: memory.count(queries.length),
    end: memory.input(Int32Array.from(contexts, ({ end }) => end)),
    queries: memory.input(Float32Array.from(queries.flatMap((row) => [...row]))),
    keys: memory.input(packed(keyIndex, 'keys')),
    values: memory.input(packed(valueIndex, 'values')),
    output,
    scores: memory.output(partitions * (CAPACITY * MAX_TILE_ROWS + 8)),
    queryStride: inner,
    outputStride: inner,
    heads: shape.heads,
    headWidth: shape.width,
    headStride: shape.headStride,
    capacity: CAPACITY,
    window: CAPACITY,
    advance: 0,
    scoreStride: CAPACITY,
    scale: 1 / Math.sqrt(shape.width),
    starts: memory.input(Int32Array.from(starts)),
    contextStride: inner * CAPACITY,
    contextRows: CONTEXT_ROWS,
  }
  const chunk = { [DispatchHeader.Rows]: queries.length, [DispatchHeader.Windows]: counts.length }
  return { memory, opcode: Opcode.Attention, fields, chunk, floats: [output], output }
}

/** What each row should attend to. */
export function attendedByWindow(counts: readonly number[]): Float64Array[] {
  const { queries, contexts } = operandsOf(counts)
  const windowOf = counts.flatMap((count, z) => Array<number>(count).fill(z))
  return queries.map((query, row) => {
    const { keys, values } = contexts[windowOf[row]!]!
    return attention(query, keys, values, shape)
  })
}
