import { Opcode } from '../../../assembly/ir/ops.js'
import type { LayerContext } from './layer-context.js'
import { rangeWords } from './operands.js'

/**
 * The layer's result (SPEC section 6); without a routed part, its local output.
 * @param scored whether experts' outputs are multiplied by scores
 */
export function addCombination(context: LayerContext, scored = false): void {
  const { builder, geometry, weights, scratch, input, output, outputRows, residual } = context
  const { rows, first } = rangeWords(outputRows)
  builder.op(Opcode.Combine, {
    rows,
    first,
    local: scratch.local,
    routed: scratch.expertOutputs,
    slots: scratch.querySlots,
    listScores: scored ? scratch.queryScores : undefined,
    nullTokens: weights.routing?.nullTokens,
    residual: residual ? input : undefined,
    output,
    stride: geometry.stride,
    experts: weights.routing?.experts.length ?? 0,
    rowCapacity: geometry.chunkRows,
  })
}
