/** `AttentionWeights`: its cases, their operands and a plain twin, for the kernels of every device. */
import { Opcode } from '../../assembly/ir/ops.js'
import { createRandom } from '../../src/random.js'
import { softmaxWeights } from '../reference/arithmetic.js'
import type { OpCase } from '../webgpu/op-comparison.js'
import { headRows, keyIndex, packHeads } from './attention-twin.js'
import { range, roundUpTo8 } from './float32.js'
import { contextLengths, headWidths, localWindows } from './op-cases.js'
import { OpMemory, type Region } from './op-runner.js'

export interface AttentionWeightsCase {
  readonly heads: number
  readonly width: number
  /** Key of the row itself, or the last one of a context. */
  readonly last: number
  /** Keys that it sees, at most. */
  readonly window: number
  /** Keys that the buffer has room for beyond the last one's panel; a multiple of 8. */
  readonly room?: number
  readonly misalignment?: number
}

/** Contexts seen whole, and windows that begin anywhere in a panel, or before the first key. */
export const attentionWeightsCases: readonly AttentionWeightsCase[] = [
  ...headWidths.flatMap((width) => [0, 7, 20, 128].map((last) => ({ heads: 2, width, last, window: 1000 }))),
  ...contextLengths.map((last) => ({ heads: 3, width: 10, last, window: last + 1, room: 16 })),
  ...localWindows.flatMap((window) =>
    [0, 3, 8, 15, 37].map((past) => ({ heads: 2, width: 6, last: window + past, window: window + 1, room: 8 })),
  ),
  { heads: 5, width: 16, last: 4, window: 17 },
]

/** Floats between the rows of heads beyond what they need. */
const GAP = 8

function operandsOf({ heads, width, last }: AttentionWeightsCase) {
  const headStride = roundUpTo8(width)
  const { normal } = createRandom(width + 100 * last)
  const [query] = headRows(1, heads, width, headStride, normal)
  return { headStride, query: query!, keys: headRows(last + 1, heads, width, headStride, normal) }
}

/** The first key that the row sees, and the first of its panel. */
function firstKey({ last, window }: AttentionWeightsCase): { first: number; base: number } {
  const first = Math.max(0, last + 1 - window)
  return { first, base: Math.floor(first / 8) * 8 }
}

/** Columns of a head's row: those of whole panels. */
export function columnsOf(options: AttentionWeightsCase): number {
  return roundUpTo8(options.last + 1) - firstKey(options).base
}

export function attentionWeightsOp(
  options: AttentionWeightsCase,
): OpCase<Opcode.AttentionWeights> & { readonly weights: (head: number) => Float32Array } {
  const { heads, width, last, window, room = 0 } = options
  const { headStride, query, keys } = operandsOf(options)
  const capacity = roundUpTo8(last + 1) + room
  const memory = new OpMemory(options.misalignment)
  const columns = columnsOf(options)
  const stride = columns + GAP
  const weights: Region = memory.output(heads * stride, [{ rows: heads, width: columns, stride }])
  const fields = {
    queries: memory.input(query),
    // what lies beyond the last key is NaN
    keys: memory.input(packHeads(keyIndex, keys, heads, headStride, capacity)),
    weights,
    end: memory.count(last),
    heads,
    headWidth: width,
    headStride,
    capacity,
    window,
    weightStride: stride,
    scale: 1 / Math.sqrt(width),
  }
  return {
    memory,
    opcode: Opcode.AttentionWeights,
    fields,
    floats: [weights],
    weights: (head) => memory.floats(weights).slice(head * stride, head * stride + columns),
  }
}

/** The plain twin: each head's row. */
export function attentionWeightsTwin(options: AttentionWeightsCase): Float64Array[] {
  const { heads, width } = options
  const { headStride, query, keys } = operandsOf(options)
  const { first, base } = firstKey(options)
  return range(heads).map((head) => {
    const ofHead = (row: Float32Array) => Float64Array.from(row.subarray(head * headStride, head * headStride + width))
    const row = new Float64Array(columnsOf(options))
    row.set(softmaxWeights(ofHead(query), keys.slice(first).map(ofHead)), first - base)
    return row
  })
}
