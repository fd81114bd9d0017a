/*
 * The single definition of every parameter of a layer (SPEC section 1) and of a model (section 7): name, shape, initial
 * values and packing. State dicts are checked, layers initialised, parameters counted and weights packed from it.
 */
import type { LayerConfig, ModelConfig } from './config.js'
import { countRouted, isRouted } from './routed-layers.js'

/** One axis of a parameter: segments, such as heads, that are zero-padded to whole vectors when packed, or not. */
export interface Extent {
  readonly segments: number
  readonly size: number
  readonly isPadded: boolean
}

export interface Parameter {
  /** PyTorch's name. */
  readonly name: string
  readonly shape: readonly number[]
  /**
   * How it is packed: as panels for matrix products, as a table whose rows are looked up, or as rows that are always
   * float32 (norms, biases, tokens).
   */
  readonly packing: 'panels' | 'table' | 'rows'
  /**
   * Whether a quantized model holds it as int8: linear maps and token embeddings. Never routing tokens, which decide
   * what is routed at all, nor the small ones (norms, biases, positions, null tokens, null keys and values).
   */
  readonly isQuantizable: boolean
  /** The values are [stacked][experts][outputs][inputs]. */
  readonly stacked: number
  readonly experts: number
  readonly outputs: Extent
  readonly inputs: Extent
}

/** Initial values: uniform in ±1/√columns, standard normal, 1 or 0. */
export type Initial = 'uniform' | 'normal' | 'ones' | 'zeros'

export interface LayerParameter extends Parameter {
  readonly initial: Initial
}

/** Parameters of local attention, in PyTorch's order. */
export interface LocalParameters {
  readonly normWeight: LayerParameter | undefined
  readonly normBias: LayerParameter | undefined
  readonly toQueriesKeysValues: LayerParameter
  readonly toOutputs: LayerParameter
}

/** Parameters of routed attention, in PyTorch's order. */
export interface RoutedParameters {
  readonly nullTokens: LayerParameter
  readonly queryRouter: LayerParameter
  readonly keyValueRouter: LayerParameter
  readonly queryNorm: LayerParameter | undefined
  readonly contextNorm: LayerParameter | undefined
  readonly nullKeyValue: LayerParameter
  readonly toQueries: LayerParameter
  readonly toKeyValues: LayerParameter
  readonly toOutputs: LayerParameter
}

export function localParameters({ dim, heads, dimHead, prenorm }: LayerConfig, prefix = ''): LocalParameters {
  const inner = heads * dimHead
  const name = (suffix: string) => `${prefix}local_attn.${suffix}`
  return {
    normWeight: prenorm ? { ...vector(name('norm.weight'), dim), initial: 'ones' } : undefined,
    normBias: prenorm ? { ...vector(name('norm.bias'), dim), initial: 'zeros' } : undefined,
    toQueriesKeysValues: {
      ...linear(name('to_qkv.weight'), 3 * inner, dim),
      outputs: padded(dimHead, 3 * heads),
      initial: 'uniform',
    },
    toOutputs: { ...linear(name('to_out.weight'), dim, inner), inputs: padded(dimHead, heads), initial: 'uniform' },
  }
}

export function routedParameters({ dim, heads, dimHead, numExperts, prenorm }: LayerConfig, prefix = ''): RoutedParameters {
  const inner = heads * dimHead
  const name = (suffix: string) => prefix + suffix
  const norm = (suffix: string): LayerParameter | undefined =>
    prenorm ? { ...vector(name(suffix), dim), shape: [numExperts, dim, 1], experts: numExperts, initial: 'ones' } : undefined
  /** A linear map for each expert; in PyTorch, a grouped convolution of width 1. */
  const expertLinear = (suffix: string, outputs: number, inputs: number): LayerParameter => ({
    ...linear(name(suffix), outputs, inputs),
    shape: [numExperts * outputs, inputs, 1],
    experts: numExperts,
    initial: 'uniform',
  })
  /** A routing token for each expert. */
  const router = (suffix: string): LayerParameter => ({
    ...linear(name(suffix), numExperts, dim),
    isQuantizable: false,
    initial: 'normal',
  })
  return {
    nullTokens: { ...rows(name('null_tokens'), numExperts, dim), initial: 'normal' },
    queryRouter: router('query_router.routing_token'),
    keyValueRouter: router('key_value_router.routing_token'),
    queryNorm: norm('attn.norm.gamma'),
    contextNorm: norm('attn.context_norm.gamma'),
    nullKeyValue: {
      ...rows(name('attn.null_kv'), heads, dimHead),
      shape: [2, numExperts, heads, 1, dimHead],
      stacked: 2,
      experts: numExperts,
      initial: 'normal',
    },
    toQueries: { ...expertLinear('attn.to_q.weight', inner, dim), outputs: padded(dimHead, heads) },
    toKeyValues: { ...expertLinear('attn.to_kv.weight', 2 * inner, dim), outputs: padded(dimHead, 2 * heads) },
    toOutputs: { ...expertLinear('attn.to_out.weight', dim, inner), inputs: padded(dimHead, heads) },
  }
}

/** Parameters of a block's feed-forward, in PyTorch's order. */
export type FeedForwardParameters = ReturnType<typeof feedForwardParameters>

export function feedForwardParameters({ layer: { dim }, feedForwardMultiplier }: ModelConfig, prefix = '') {
  const hidden = dim * feedForwardMultiplier
  return {
    norm: vector(`${prefix}0.gamma`, dim),
    up: linear(`${prefix}1.weight`, hidden, dim),
    upBias: vector(`${prefix}1.bias`, hidden),
    down: linear(`${prefix}3.weight`, dim, hidden),
    downBias: vector(`${prefix}3.bias`, dim),
  }
}

/** A model's parameters outside its blocks. */
export function outerParameters({ layer: { dim }, numTokens, maxPositions }: ModelConfig) {
  return {
    tokens: { ...table('token_emb.weight', numTokens, dim), isQuantizable: true },
    positions: maxPositions === null ? undefined : table('pos_emb.weight', maxPositions, dim),
    norm: vector('to_logits.0.gamma', dim),
    head: linear('to_logits.1.weight', numTokens, dim),
    headBias: vector('to_logits.1.bias', numTokens),
  }
}

/** Prefixes of the parameter names of a block's layer and feed-forward. */
export function blockPrefixes(block: number): { layer: string; feedForward: string } {
  return { layer: `layers.${block}.0.`, feedForward: `layers.${block}.1.` }
}

/**
 * The parameters of a layer, in PyTorch's order.
 * @param isRouted whether it has routed attention
 */
export function layerParameters(config: LayerConfig, prefix = '', isRouted = true): LayerParameter[] {
  const local = Object.values<LayerParameter | undefined>({ ...localParameters(config, prefix) })
  if (!isRouted) return present(local)
  const { nullTokens, ...routed } = routedParameters(config, prefix)
  return present([nullTokens, ...local, ...Object.values<LayerParameter | undefined>(routed)])
}

/** The parameters of a language model, in PyTorch's order. */
export function modelParameters(config: ModelConfig): Parameter[] {
  const { tokens, positions, norm, head, headBias } = outerParameters(config)
  const blocks = Array.from({ length: config.depth }, (_, block) => {
    const { layer, feedForward } = blockPrefixes(block)
    return [...layerParameters(config.layer, layer, isRouted(config, block)), ...Object.values(feedForwardParameters(config, feedForward))]
  })
  return present([tokens, positions, ...blocks.flat(), norm, head, headBias])
}

/** Number of values in a layer's parameters. */
export function layerParameterCount(config: LayerConfig, isRouted = true): number {
  return count(layerParameters(config, '', isRouted))
}

/** Number of values in a model's parameters. Blocks are not enumerated, since a bad config may ask for too many. */
export function modelParameterCount(config: ModelConfig): number {
  const routed = countRouted(config)
  const layers = routed * layerParameterCount(config.layer) + (config.depth - routed) * layerParameterCount(config.layer, false)
  const feedForwards = config.depth * count(Object.values(feedForwardParameters(config)))
  return layers + feedForwards + count(present(Object.values(outerParameters(config))))
}

/** A linear map: its weight is (outputs, inputs). */
export function linear(name: string, outputs: number, inputs: number): Parameter {
  return {
    name,
    shape: [outputs, inputs],
    packing: 'panels',
    isQuantizable: true,
    stacked: 1,
    experts: 1,
    outputs: plain(outputs),
    inputs: plain(inputs),
  }
}

function rows(name: string, length: number, width: number): Parameter {
  return {
    name,
    shape: [length, width],
    packing: 'rows',
    isQuantizable: false,
    stacked: 1,
    experts: 1,
    outputs: plain(length),
    inputs: padded(width),
  }
}

function table(name: string, length: number, width: number): Parameter {
  return { ...rows(name, length, width), packing: 'table' }
}

/** The scale of a norm, or a bias. */
export function vector(name: string, width: number): Parameter {
  return { ...rows(name, 1, width), shape: [width] }
}

function plain(size: number): Extent {
  return { segments: 1, size, isPadded: false }
}

function padded(size: number, segments = 1): Extent {
  return { segments, size, isPadded: true }
}

function present<T>(parameters: readonly (T | undefined)[]): T[] {
  return parameters.filter((parameter) => parameter !== undefined)
}

function count(parameters: readonly Parameter[]): number {
  return parameters.reduce((sum, { shape }) => sum + shape.reduce((product, length) => product * length, 1), 0)
}
