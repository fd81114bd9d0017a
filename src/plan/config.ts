/** How the k tokens that an expert takes are chosen: SPEC section 4. */
export type SelectionMethod = 'coordinate-descent' | 'top-k'

/** Options of a layer (SPEC section 1), checked and with defaults filled in. */
export interface LayerConfig {
  /** Channels of a token, d. */
  readonly dim: number
  /** Heads. */
  readonly heads: number
  /** Channels of a head, even. */
  readonly dimHead: number
  /** Experts. */
  readonly numExperts: number
  /** W: local attention sees a token and the W before it. */
  readonly localAttnWindowSize: number
  /** Tokens of a routed window. */
  readonly routedWindowSize: number
  /** Tokens of a window that an expert takes as queries. */
  readonly numRoutedQueries: number
  /** Tokens of all earlier windows that an expert takes as keys and values. */
  readonly numRoutedKeyValues: number
  /** Whether the inputs of both attentions are normalized. */
  readonly prenorm: boolean
  /** Whether the sum is divided by the number of experts plus one. */
  readonly averageRouted: boolean
  /** Whether routers compare by cosine similarity rather than by the dot product. */
  readonly cosineSimRouting: boolean
  /** What a cosine similarity is multiplied by. */
  readonly cosineSimScale: number
  /** Passes of the coordinate descent. */
  readonly nIters: number
  /** What k is multiplied by in the coordinate descent. */
  readonly fetchKRatio: number
  /** Smallest temperature of the coordinate descent. */
  readonly eps: number
  /** First temperature of the coordinate descent. */
  readonly epsInit: number
  /** What the temperature is multiplied by after each pass. */
  readonly epsDecay: number
  /** Whether selected tokens carry a score of 1 rather than the router's. */
  readonly straightThrough: boolean
  /** How the k tokens that an expert takes are chosen (SPEC section 4). */
  readonly selection: SelectionMethod
  /** Whether queries are chosen without looking ahead. */
  readonly causal: boolean
}

/** What config.json says: SPEC section 7. */
export interface ModelConfig {
  /** Options of each block's layer. */
  readonly layer: LayerConfig
  /** Size of the vocabulary, V. */
  readonly numTokens: number
  /** Blocks. */
  readonly depth: number
  /** Inner channels of the feed-forward, in multiples of `layer.dim`. */
  readonly feedForwardMultiplier: number
  /** Whether routed attention, too, turns queries and keys by their positions' angles. */
  readonly routedRotaryEmb: boolean
  /** Rows of the position table; null where there is none, and inputs may be of any length. */
  readonly maxPositions: number | null
  /**
   * Blocks that are routed, ascending, counted from 0; absent: all. The others have local attention alone (SPEC section
   * 2).
   */
  readonly routedLayers?: readonly number[]
}

/** Whether a block of a model has a routed part. */
export function isRouted({ routedLayers }: ModelConfig, block: number): boolean {
  return routedLayers === undefined || routedLayers.includes(block)
}

/** How many blocks of a model are routed. */
export function countRouted({ routedLayers, depth }: ModelConfig): number {
  return routedLayers?.length ?? depth
}
