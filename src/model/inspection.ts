import { checkOptions, namesOf } from '../options.js'
import type { Signal } from '../platform.js'

/** Options of `session.inspect`. */
export interface InspectOptions {
  /** Aborting it rejects the call with its reason. */
  signal?: Signal | undefined
}

const INSPECT_OPTIONS = namesOf<InspectOptions>({ signal: true })

/** What the last token of a session attended to. */
export interface Inspection {
  /** Position of the token, counted from 0. */
  readonly position: number
  /** Its id. */
  readonly token: number
  /** For each block, what its layer did for the token. */
  readonly layers: readonly LayerInspection[]
}

/**
 * One layer: h heads, g experts, W the local window, k `numRoutedKeyValues` (SPEC, sections 2 to 6). The layer's output
 * is its local attention's plus those of all experts; an expert that does not take the token as a query gives its null
 * token instead, and nothing in the first window. A block that is not routed has no experts: g is 0.
 */
export interface LayerInspection {
  /** The positions of the local window, ascending: the token's own is the last of min(position, W) + 1. */
  readonly localPositions: Float64Array
  /** For each of the h heads, the softmax weights of `localPositions`; they sum to 1. */
  readonly localWeights: readonly Float32Array[]
  /**
   * The token's router scores, two rows of g: as a query, by which it competes with the earlier tokens of its window,
   * and as a key/value, by which it will compete for a place among the held positions when its window closes.
   */
  readonly routerScores: readonly [query: Float32Array, keyValue: Float32Array]
  /** For each of the g experts, whether it takes the token as a query. False in the first window. */
  readonly isQuery: readonly boolean[]
  /**
   * For each of the g experts, the positions whose keys and values it holds in the token's window, ascending: at most
   * k, all from earlier windows; none in the first.
   */
  readonly heldPositions: readonly Float64Array[]
  /**
   * For each of the g experts, undefined if it does not take the token as a query; otherwise for each of the h heads the
   * softmax weights: first of the null key/value, then of its `heldPositions`; they sum to 1.
   */
  readonly routedWeights: readonly (readonly Float32Array[] | undefined)[]
}

/** @throws RoutedAttentionError `BAD_ARGUMENT` */
export function checkInspectOptions(options: InspectOptions): Signal | undefined {
  checkOptions('inspect', options, INSPECT_OPTIONS)
  return options.signal
}
