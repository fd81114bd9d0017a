import type { ModelConfig } from '../config.js'
import { isRouted } from '../routed-blocks.js'
import type { WeightFormat, WeightLayout } from '../../device/device.js'
import { createGeometry, workPerToken } from '../geometry.js'
import type { Operand } from '../../program/operand.js'
import { type LayerWeights, planLayerWeights, type Weights, WeightPlan } from './weights.js'

export interface FeedForwardWeights {
  readonly norm: Operand
  readonly up: Weights
  readonly upBias: Operand
  readonly down: Weights
  readonly downBias: Operand
}

/** Packed parameters of a model. */
export interface ModelParameters {
  readonly layout: WeightLayout
  readonly tokens: Weights
  readonly positions: Weights | undefined
  readonly frequencies: Operand
  readonly layers: readonly { readonly attention: LayerWeights; readonly feedForward: FeedForwardWeights }[]
  readonly norm: Operand
  readonly head: Weights
  readonly headBias: Operand
}

/** @param formatOf how a parameter that is read for every token is kept */
export function planModelParameters(config: ModelConfig, formatOf: (name: string) => WeightFormat): ModelParameters {
  const { layer, numTokens, depth, feedForwardMultiplier, maxPositions } = config
  const plan = new WeightPlan(formatOf)
  const { dim } = layer
  const hidden = dim * feedForwardMultiplier
  const geometry = createGeometry(layer, 0)
  const frequencies = plan.frequencies(layer.dimHead)
  const tokens = plan.table('token_emb.weight', numTokens, dim)
  const positions = maxPositions === null ? undefined : plan.table('pos_emb.weight', maxPositions, dim)
  const layers = Array.from({ length: depth }, (_, index) => {
    const prefix = `layers.${index}.1.`
    return {
      attention: planLayerWeights(plan, geometry, `layers.${index}.0.`, isRouted(config, index)),
      feedForward: {
        norm: plan.vector(`${prefix}0.gamma`, dim),
        up: plan.linear(`${prefix}1.weight`, hidden, dim),
        upBias: plan.vector(`${prefix}1.bias`, hidden),
        down: plan.linear(`${prefix}3.weight`, dim, hidden),
        downBias: plan.vector(`${prefix}3.bias`, dim),
      },
    }
  })
  const norm = plan.vector('to_logits.0.gamma', dim)
  const head = plan.linear('to_logits.1.weight', numTokens, dim)
  const headBias = plan.vector('to_logits.1.bias', numTokens)
  return { layout: plan.finish(), tokens, positions, frequencies, layers, norm, head, headBias }
}

/** Operations that a token takes in a model, about, multiply and add counted as two; its logits not counted. */
export function modelWorkPerToken({ layer, depth, feedForwardMultiplier }: ModelConfig): number {
  return depth * (workPerToken(layer) + 4 * feedForwardMultiplier * layer.dim ** 2)
}
