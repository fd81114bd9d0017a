import type { Values } from './arithmetic.js'

/** The layer's options as the JavaScript API names them (SPEC section 1). */
export interface LayerOptions {
  dim: number
  numRoutedQueries: number
  numRoutedKeyValues: number
  localAttnWindowSize: number
  routedWindowSize?: number
  numExperts?: number
  dimHead?: number
  heads?: number
  dropout?: number
  prenorm?: boolean
  averageRouted?: boolean
  cosineSimRouting?: boolean
  cosineSimScale?: number
  nIters?: number
  fetchKRatio?: number
  eps?: number
  epsInit?: number
  epsDecay?: number
  straightThrough?: boolean
  useTriton?: boolean
  flashAttn?: boolean
  selection?: 'coordinate-descent' | 'top-k'
  causal?: boolean
}

export type ResolvedOptions = Required<LayerOptions>

/** What one call may override, and the angles of routed queries and keys: (n, e) shared by the heads, or (n, h·e). */
export interface ForwardOptions<Angles extends Values = Values> {
  rotaryEmb?: Angles
  numRoutedQueries?: number
  numRoutedKeyValues?: number
}

/** The defaults of SPEC section 1, and this call's overrides. */
export function resolveOptions(options: LayerOptions, forward: ForwardOptions = {}): ResolvedOptions {
  return {
    routedWindowSize: options.localAttnWindowSize,
    numExperts: 2,
    dimHead: 64,
    heads: 8,
    dropout: 0,
    prenorm: true,
    averageRouted: false,
    cosineSimRouting: false,
    cosineSimScale: 8,
    nIters: 20,
    fetchKRatio: 9 / 8,
    eps: 0.03,
    epsInit: 4,
    epsDecay: 0.7,
    straightThrough: true,
    useTriton: false,
    flashAttn: false,
    selection: 'coordinate-descent',
    causal: false,
    ...options,
    numRoutedQueries: forward.numRoutedQueries ?? options.numRoutedQueries,
    numRoutedKeyValues: forward.numRoutedKeyValues ?? options.numRoutedKeyValues,
  }
}

/**
 * The layer's options by PyTorch's names: the keys of a golden case's `config`, and of config.json, next to the model's
 * own.
 */
const PYTORCH_NAMES = [
  'dim',
  'num_routed_queries',
  'num_routed_key_values',
  'local_attn_window_size',
  'routed_window_size',
  'num_experts',
  'dim_head',
  'heads',
  'dropout',
  'prenorm',
  'average_routed',
  'cosine_sim_routing',
  'cosine_sim_scale',
  'n_iters',
  'fetch_k_ratio',
  'eps',
  'eps_init',
  'eps_decay',
  'straight_through',
  'use_triton',
  'flash_attn',
  'selection',
  'causal',
]

/**
 * The layer options among `config`'s entries, in camelCase. Others are left out, and so are nulls, which stand for the
 * default.
 */
export function camelCaseOptions(config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const options: Record<string, unknown> = {}
  for (const name of PYTORCH_NAMES) {
    const value = config[name] ?? undefined
    if (value !== undefined) options[name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())] = value
  }
  return options
}

/** A golden case's `config`, or a config.json, as the layer's options. */
export function layerOptions(config: Readonly<Record<string, unknown>>): LayerOptions {
  return camelCaseOptions(config) as unknown as LayerOptions
}
