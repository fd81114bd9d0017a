import type { ActivationBits, ModelConfig } from '../config.js'
import { blockPrefixes, type FeedForwardParameters, feedForwardParameters, outerParameters, type Parameter } from '../parameters.js'
import { isRouted } from '../routed-layers.js'
import { WeightFormat, type WeightLayout } from '../../device/device.js'
import { type Geometry, workPerToken } from '../geometry.js'
import type { Operand } from '../../program/operand.js'
import { type LayerWeights, planLayerWeights } from './layer-weights.js'
import { type Weights, WeightPlan } from './weight-plan.js'

export interface FeedForwardWeights {
  readonly norm: Operand
  readonly up: Weights
  readonly upBias: Operand
  readonly down: Weights
  readonly downBias: Operand
}

/** Packed weights of a model. */
export interface ModelWeights {
  readonly layout: WeightLayout
  /** Bits of activations, where weights are int8. */
  readonly activationBits: ActivationBits | undefined
  readonly tokens: Weights
  readonly positions: Weights | undefined
  readonly frequencies: Operand
  readonly blocks: readonly { readonly layer: LayerWeights; readonly feedForward: FeedForwardWeights }[]
  readonly norm: Operand
  readonly head: Weights
  readonly headBias: Operand
}

/** @param formatOf the format in which a matrix or table is kept */
export function planModelWeights(config: ModelConfig, formatOf: (parameter: Parameter) => WeightFormat): ModelWeights {
  const plan = new WeightPlan(formatOf)
  const outer = outerParameters(config)
  const frequencies = plan.frequencies(config.layer.dimHead)
  const tokens = plan.pack(outer.tokens)
  const positions = outer.positions && plan.pack(outer.positions)
  const blocks = Array.from({ length: config.depth }, (_, block) => {
    const prefixes = blockPrefixes(block)
    return {
      layer: planLayerWeights(plan, config.layer, prefixes.layer, isRouted(config, block)),
      feedForward: planFeedForward(plan, feedForwardParameters(config, prefixes.feedForward)),
    }
  })
  const norm = plan.pack(outer.norm)
  const head = plan.pack(outer.head)
  const headBias = plan.pack(outer.headBias)
  const activationBits = head.format === WeightFormat.Int8 ? config.quantization?.activationBits : undefined
  return { layout: plan.finish(), activationBits, tokens, positions, frequencies, blocks, norm, head, headBias }
}

function planFeedForward(plan: WeightPlan, { norm, up, upBias, down, downBias }: FeedForwardParameters): FeedForwardWeights {
  return { norm: plan.pack(norm), up: plan.pack(up), upBias: plan.pack(upBias), down: plan.pack(down), downBias: plan.pack(downBias) }
}

/** Approximate number of operations per token without its logits, a multiply-add counting as two. */
export function modelWorkPerToken({ layer, depth, feedForwardMultiplier }: ModelConfig): number {
  return depth * (workPerToken(layer) + 4 * feedForwardMultiplier * layer.dim ** 2)
}

/** Most columns of a linear map. */
export function maxColumns({ layer, feedForwardMultiplier }: ModelConfig, { inner }: Geometry): number {
  return Math.max(inner, layer.dim, layer.dim * feedForwardMultiplier)
}
