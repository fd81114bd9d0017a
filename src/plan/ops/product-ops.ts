import { DispatchHeader } from '../../../assembly/ir/header.js'
import { Opcode } from '../../../assembly/ir/ops.js'
import { Activation } from '../../../assembly/ir/values.js'
import type { ProgramBuilder } from './program-builder.js'
import { activationBytes } from '../../program/activation-bytes.js'
import type { Operand } from '../../program/operand.js'
import type { Weights } from '../memory/weight-plan.js'

export interface ProductOptions {
  readonly rows: Operand
  readonly input: Operand
  readonly weights: Weights
  readonly output: Operand
  readonly inputStride: number
  readonly depth?: number
  readonly outputStride: number
  readonly bias?: Operand
  readonly addTo?: Operand
  readonly activation?: Activation
  /** Projections side by side in the outputs, each partitioned separately; default 1. */
  readonly projections?: number
  /** Upper bound of `rows`; default: the chunk's rows. */
  readonly limit?: DispatchHeader
}

export function addProduct(builder: ProgramBuilder, options: ProductOptions): void {
  if (options.weights.scales) return addQuantizedProduct(builder, options, options.weights.scales)
  builder.op(Opcode.Matmul, {
    rows: options.rows,
    input: options.input,
    weights: options.weights,
    output: options.output,
    bias: options.bias,
    addTo: options.addTo,
    inputStride: options.inputStride,
    outputStride: options.outputStride,
    depth: options.depth ?? options.inputStride,
    panels: options.outputStride / 8,
    activation: options.activation ?? Activation.None,
    format: options.weights.format,
    projections: options.projections ?? 1,
    limit: options.limit ?? DispatchHeader.Rows,
  })
}

/** The same for int8 weights: input rows become integers first. */
function addQuantizedProduct(builder: ProgramBuilder, options: ProductOptions, weightScales: Operand): void {
  const { rows, inputStride, depth = inputStride, limit = DispatchHeader.Rows } = options
  const { values, scales, bits } = builder.activations
  const stride = activationBytes(bits, depth)
  builder.op(Opcode.QuantizeRows, { rows, input: options.input, output: values, scales, inputStride, depth, stride, bits, limit })
  builder.op(Opcode.QuantizedMatmul, {
    rows,
    input: values,
    inputScales: scales,
    weights: options.weights,
    weightScales,
    output: options.output,
    bias: options.bias,
    addTo: options.addTo,
    inputStride: stride,
    outputStride: options.outputStride,
    depth,
    panels: options.outputStride / 8,
    activation: options.activation ?? Activation.None,
    bits,
    projections: options.projections ?? 1,
    limit,
  })
}
