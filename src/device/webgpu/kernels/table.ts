import { Descent, Opcode, SelectKeyValues, SelectQueries } from '../../../../assembly/steps.js'
import type { Kernel, StepView } from '../kernel.js'
import { chooseAttention } from './attention.js'
import { gatherContext, nullContext, updateContext } from './context.js'
import { chooseEmbed, combine, copyRows, logProbabilities } from './elementwise.js'
import { dropFront, storeLocal } from './local-store.js'
import { normalise } from './norms.js'
import { chooseProduct } from './product.js'
import { rotaryFromAngles, rotaryFromPositions, rotate } from './rotary.js'
import { routeCausal } from './route-causal.js'
import { listQueries, similarities } from './routing.js'
import { selectContext } from './select-context.js'
import { assignSlots, selectKeyValues, selectQueries } from './selection.js'

/** What runs each kind of step: kernels, one after the other. */
const KERNELS: Readonly<Partial<Record<Opcode, (step: StepView) => readonly Kernel[]>>> = {
  [Opcode.Embed]: (step) => [chooseEmbed(step)],
  [Opcode.RotaryFromPositions]: () => [rotaryFromPositions],
  [Opcode.RotaryFromAngles]: () => [rotaryFromAngles],
  [Opcode.Normalise]: () => [normalise],
  [Opcode.Product]: (step) => [chooseProduct(step)],
  [Opcode.Rotate]: () => [rotate],
  [Opcode.LocalStore]: () => [dropFront, storeLocal],
  [Opcode.Attention]: (step) => [chooseAttention(step)],
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

export function kernelsOf(step: StepView): readonly Kernel[] {
  const opcode = step.words[0] as Opcode
  const kernels = KERNELS[opcode]
  if (!kernels) throw new Error(`no kernel runs steps of opcode ${opcode}`)
  return kernels(step)
}

/** The words of a step that are f64: a shader sees the first of their two as f32. */
export function doublesOf(opcode: Opcode): readonly number[] {
  const base = { [Opcode.SelectQueries]: SelectQueries.Descent, [Opcode.SelectKeyValues]: SelectKeyValues.Descent }[opcode as number]
  if (base === undefined) return []
  return [Descent.FetchRatio, Descent.Eps, Descent.EpsInit, Descent.EpsDecay].map((word) => base + word)
}
