import { Opcode } from '../../../../assembly/ir/ops.js'
import type { OpName } from '../../../program/encode-op.js'
import type { Kernel, OpView } from '../kernel.js'
import { chooseAttention } from './attention/attention.js'
import { attentionWeights } from './attention/attention-weights.js'
import { gatherContext, nullContext, updateContext, updateContextInputs } from './routing/context.js'
import { chooseEmbed, combine, copyRows, logProbabilities } from './elementwise.js'
import { dropFront, storeLocal } from './attention/local-store.js'
import { normalise } from './norms.js'
import { chooseProduct } from './matmul/product.js'
import { rotaryFromAngles, rotaryFromPositions, rotate } from './attention/rotary.js'
import { routeCausal } from './routing/route-causal.js'
import { listQueries, routerScores } from './routing/routing.js'
import { selectContext } from './routing/select-context.js'
import { assignSlots, selectKeyValues, selectQueries } from './routing/selection.js'

/** The kernels of each kind of op, in order of execution. */
const KERNELS: { readonly [O in OpName]: (op: OpView) => readonly Kernel<O>[] } = {
  [Opcode.Embed]: (op) => [chooseEmbed(op)],
  [Opcode.RotaryFromPositions]: () => [rotaryFromPositions],
  [Opcode.RotaryFromAngles]: () => [rotaryFromAngles],
  [Opcode.Normalise]: () => [normalise],
  [Opcode.Matmul]: (op) => [chooseProduct(op)],
  [Opcode.QuantizeRows]: unplanned,
  [Opcode.QuantizedMatmul]: unplanned,
  [Opcode.Rotate]: () => [rotate],
  [Opcode.LocalStore]: () => [dropFront, storeLocal],
  [Opcode.Attention]: (op) => [chooseAttention(op)],
  [Opcode.AttentionWeights]: () => [attentionWeights],
  [Opcode.RouterScores]: () => [routerScores],
  [Opcode.CopyRows]: () => [copyRows],
  [Opcode.RouteCausal]: () => [routeCausal],
  [Opcode.ListQueries]: () => [listQueries],
  [Opcode.Combine]: () => [combine],
  [Opcode.UpdateContext]: () => [updateContext],
  [Opcode.UpdateContextInputs]: () => [updateContextInputs],
  [Opcode.NullContext]: () => [nullContext],
  [Opcode.GatherContext]: () => [gatherContext],
  [Opcode.SelectContext]: () => [selectContext],
  [Opcode.SelectQueries]: () => [selectQueries],
  [Opcode.SelectKeyValues]: () => [selectKeyValues],
  [Opcode.AssignSlots]: () => [assignSlots],
  [Opcode.LogProbabilities]: () => [logProbabilities],
}

/** Ops on int8 weights: plans for a GPU have these as float32 (`Device.multipliesInt8`). */
function unplanned(): never {
  throw new Error('a GPU has no kernels for int8 weights')
}

export function kernelsOf(op: OpView): readonly Kernel[] {
  return KERNELS[op.words[0] as OpName](op)
}
