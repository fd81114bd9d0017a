import type { Operand } from '../../program/operand.js'
import type { LayerConfig } from '../config.js'
import { localParameters, routedParameters } from '../parameters.js'
import type { WeightPlan, Weights } from './weight-plan.js'

/** One expert's weights. */
export interface ExpertWeights {
  readonly queryNorm: Operand | undefined
  readonly contextNorm: Operand | undefined
  readonly toQueries: Weights
  readonly toKeyValues: Weights
  readonly toOutputs: Weights
  /** [key: inner][value: inner]. */
  readonly nullPair: Operand
}

/** Weights of a layer's routed attention. */
export interface RoutingWeights {
  /** Routing tokens of the query router, then of the key/value router. */
  readonly routingTokens: Weights
  readonly nullTokens: Operand
  readonly experts: readonly ExpertWeights[]
}

export interface LayerWeights {
  readonly localNorm: { readonly weight: Operand; readonly bias: Operand } | undefined
  readonly toQueriesKeysValues: Weights
  readonly toOutputs: Weights
  /** Undefined if the layer has only local attention. */
  readonly routing: RoutingWeights | undefined
}

/**
 * Plans the weights of the layer whose parameters have this prefix.
 * @param isRouted whether it has routed attention
 */
export function planLayerWeights(plan: WeightPlan, config: LayerConfig, prefix = '', isRouted = true): LayerWeights {
  const { normWeight, normBias, toQueriesKeysValues, toOutputs } = localParameters(config, prefix)
  return {
    localNorm: normWeight && normBias && { weight: plan.pack(normWeight), bias: plan.pack(normBias) },
    toQueriesKeysValues: plan.pack(toQueriesKeysValues),
    toOutputs: plan.pack(toOutputs),
    routing: isRouted ? planRoutingWeights(plan, config, prefix) : undefined,
  }
}

function planRoutingWeights(plan: WeightPlan, config: LayerConfig, prefix: string): RoutingWeights {
  const parameters = routedParameters(config, prefix)
  const { queryNorm, contextNorm } = parameters
  return {
    routingTokens: plan.join([parameters.queryRouter, parameters.keyValueRouter], { normalised: config.cosineSimRouting }),
    nullTokens: plan.pack(parameters.nullTokens),
    experts: Array.from({ length: config.numExperts }, (_, expert) => ({
      queryNorm: queryNorm && plan.pack(queryNorm, expert),
      contextNorm: contextNorm && plan.pack(contextNorm, expert),
      toQueries: plan.pack(parameters.toQueries, expert),
      toKeyValues: plan.pack(parameters.toKeyValues, expert),
      toOutputs: plan.pack(parameters.toOutputs, expert),
      nullPair: plan.pack(parameters.nullKeyValue, expert),
    })),
  }
}
