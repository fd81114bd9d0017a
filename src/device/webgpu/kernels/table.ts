import { Descent, Opcode, SelectKeyValues, SelectQueries } from '../../../../assembly/ir/ops.js'
import type { Kernel, OpView } from '../kernel.js'
import { chooseAttention } from './attention/attention.js'
import { gatherContext, nullContext, updateContext } from './routing/context.js'
import { chooseEmbed, combine, copyRows, logProbabilities } from './elementwise.js'
import { dropFront, storeLocal } from './attention/local-store.js'
import { normalise } from './norms.js'
import { chooseProduct } from './matmul/product.js'
import { rotaryFromAngles, rotaryFromPositions, rotate } from './attention/rotary.js'
import { routeCausal } from './routing/route-causal.js'
import { listQueries, similarities } from './routing/routing.js'
import { selectContext } from './routing/select-context.js'
import { assignSlots, selectKeyValues, selectQueries } from './routing/selection.js'

/** The kernels of each kind of op, in order of execution. */
const KERNELS: Readonly<Partial<Record<Opcode, (op: OpView) => readonly Kernel[]>>> = {
  [Opcode.Embed]: (op) => [chooseEmbed(op)],
  [Opcode.RotaryFromPositions]: () => [rotaryFromPositions],
  [Opcode.RotaryFromAngles]: () => [rotaryFromAngles],
  [Opcode.Normalise]: () => [normalise],
  [Opcode.Matmul]: (op) => [chooseProduct(op)],
  [Opcode.Rotate]: () => [rotate],
  [Opcode.LocalStore]: () => [dropFront, storeLocal],
  [Opcode.Attention]: (op) => [chooseAttention(op)],
  [Opcode.Similarities]: () => [similarities],
  [Opcode.CopyRows]: () => [copyRows],
  [Opcode.RouteCausal]: () => [routeCausal],
  [Opcode.ListQueries]: () => [listQueries],
  [Opcode.Combine]: () => [combine],
  [Opcode.UpdateContext]: () => [updateContext],
  [Opcode.NullContext]: () => [nullContext],
  [Opcode.GatherContext]: () => [gatherContext],
  [Opcode.SelectContext]: () => [selectContext],
  [Opcode.SelectQueries]: () => [selectQueries],
  [Opcode.SelectKeyValues]: () => [selectKeyValues],
  [Opcode.AssignSlots]: () => [assignSlots],
  [Opcode.LogProbabilities]: () => [logProbabilities],
}

export function kernelsOf(op: OpView): readonly Kernel[] {
  const opcode = op.words[0] as Opcode
  const kernels = KERNELS[opcode]
  if (!kernels) throw new Error(`no kernel runs ops of opcode ${opcode}`)
  return kernels(op)
}

/** The words of an op that are f64: shaders see the first of the two as f32. */
export function doublesOf(opcode: Opcode): readonly number[] {
  const base = { [Opcode.SelectQueries]: SelectQueries.Descent, [Opcode.SelectKeyValues]: SelectKeyValues.Descent }[opcode as number]
  if (base === undefined) return []
  return [Descent.FetchRatio, Descent.Eps, Descent.EpsInit, Descent.EpsDecay].map((word) => base + word)
}
