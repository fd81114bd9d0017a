import type { LayerConfig } from '../config.js'
import type { WeightLayout } from '../../device/device.js'
import type { Operand } from '../../program/operand.js'
import { type LayerWeights, planLayerWeights } from './layer-weights.js'
import { WeightPlan } from './weight-plan.js'

/** Packed weights of a layer that is used on its own, outside a model. */
export interface StandaloneWeights {
  readonly layout: WeightLayout
  readonly weights: LayerWeights
  readonly frequencies: Operand
}

export function planStandaloneWeights(config: LayerConfig): StandaloneWeights {
  const plan = new WeightPlan()
  const frequencies = plan.frequencies(config.dimHead)
  const weights = planLayerWeights(plan, config)
  return { layout: plan.finish(), weights, frequencies }
}
