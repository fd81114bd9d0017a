/** `Combine`: its cases, their operands and a plain twin, for the kernels of every device. */
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import type { OpCase } from '../webgpu/op-comparison.js'
import { integers, normals, range } from './float32.js'
import { OpMemory, type Region } from './op-runner.js'

const { fround } = Math

export interface CombineCase {
  /** Rows of the chunk. */
  readonly rows: number
  readonly experts: number
  /** Default: 24. */
  readonly stride?: number
  readonly routed: boolean
  readonly average: boolean
  readonly scored: boolean
  /** None; a buffer of its own; or the rows that the output overwrites. */
  readonly residual: 'none' | 'other' | 'output'
  /** Rows of window 0 at the front of the chunk; default: none. */
  readonly unrouted?: number
  /** The rows whose outputs are requested; default: all. */
  readonly requested?: { readonly first: number; readonly rows: number }
  readonly misalignment?: number
}

const everyFlag = [1, 2, 5].flatMap((experts) =>
  [0, 1, 7].flatMap((rows) =>
    (['none', 'other', 'output'] as const).flatMap((residual) =>
      range(8).map((flags) => ({ rows, experts, residual, routed: !!(flags & 1), average: !!(flags & 2), scored: !!(flags & 4) })),
    ),
  ),
)

const someRows = ([12, 4, 5] as const).map((first, i) => {
  const requested = { first, rows: [1, 6, 0][i]! }
  return { rows: 13, experts: 3, residual: 'other', routed: true, average: false, scored: true, requested } as const
})

const severalWindows = [8, 64, 304].flatMap((stride) =>
  (
    [
      [true, 'none', true, 0, 0],
      [false, 'other', false, 2, 0],
      [true, 'other', true, 5, 0],
      [false, 'other', false, 3, 2],
      [true, 'none', false, 0, 4],
    ] as const
  ).map(([scored, residual, average, unrouted, first]) => {
    return { rows: 5, experts: 3, stride, routed: true, scored, residual, average, unrouted, requested: { first, rows: 5 - first } }
  }),
)

/** Every flag and residual; some of a chunk's rows; chunks that begin in window 0, at strides beyond a workgroup. */
export const combineCases: readonly CombineCase[] = [...everyFlag, ...someRows, ...severalWindows]

function operandsOf({ rows, experts, stride = 24 }: CombineCase) {
  const rowCapacity = rows + 3
  // a place in the expert's list, or none; the lists' rows come in any order
  const slots = integers(experts * rowCapacity, rowCapacity + 2, rows + 1).map((slot) => Math.max(slot - 2, -1))
  return {
    stride,
    rowCapacity,
    slots,
    local: normals(rows * stride, 1),
    outputs: normals(experts * rowCapacity * stride, 2),
    scores: normals(experts * rowCapacity, 3),
    nullTokens: normals(experts * stride, 4),
    residual: normals(rows * stride, 5),
  }
}

/** @param options `residual: 'output'` goes with all rows only */
export function combineOp(options: CombineCase): OpCase<Opcode.Combine> & { readonly output: Region } {
  const { rows, experts, routed, average, scored, residual, unrouted = 0, requested = { first: 0, rows } } = options
  const operands = operandsOf(options)
  const { stride } = operands
  const memory = new OpMemory(options.misalignment)
  const end = (requested.first + requested.rows) * stride
  const output = residual === 'output' ? memory.inputOutput(operands.residual) : memory.output(requested.rows * stride)
  const fields = {
    rows: memory.count(requested.rows),
    first: options.requested && memory.count(requested.first),
    local: memory.inputOutput(operands.local.subarray(requested.first * stride, end)),
    routed: memory.input(operands.outputs),
    slots: memory.input(operands.slots),
    listScores: scored ? memory.input(operands.scores) : undefined,
    nullTokens: memory.input(operands.nullTokens),
    residual: residual === 'none' ? undefined : residual === 'output' ? output : memory.input(operands.residual),
    output,
    stride,
    experts,
    rowCapacity: operands.rowCapacity,
  }
  const chunk = {
    [DispatchHeader.Rows]: rows,
    [DispatchHeader.Routed]: Number(routed),
    [DispatchHeader.Unrouted]: unrouted,
    [DispatchHeader.Average]: Number(average),
  }
  return { memory, opcode: Opcode.Combine, fields, chunk, floats: [output], output }
}

/** What the op should give, each operation rounded. */
export function combined(options: CombineCase): Float32Array {
  const { rowCapacity, stride, slots, local, outputs, scores, nullTokens, residual } = operandsOf(options)
  const { rows, unrouted = 0, requested = { first: 0, rows } } = options
  const all = local.map((value, i) => {
    const [row, column] = [Math.floor(i / stride), i % stride]
    let sum = value
    for (let expert = 0; options.routed && row >= unrouted && expert < options.experts; expert++) {
      const slot = slots[expert * rowCapacity + row]!
      const place = expert * rowCapacity + slot
      const score = options.scored ? scores[place]! : 1
      const term = slot < 0 ? nullTokens[expert * stride + column]! : fround(outputs[place * stride + column]! * score)
      sum = fround(sum + term)
    }
    if (options.average) sum = fround(sum / (options.experts + 1))
    return options.residual === 'none' ? sum : fround(sum + residual[i]!)
  })
  return all.subarray(requested.first * stride, (requested.first + requested.rows) * stride)
}
