import { MOST_TILE_ROWS } from '../../assembly/steps.js'
import { roundUp } from './layout.js'

/** How the k tokens that an expert takes are chosen: SPEC section 4. */
export type SelectionMethod = 'coordinate-descent' | 'top-k'

/** Options of a layer, checked and with defaults filled in (SPEC section 1). */
export interface LayerConfig {
  /** Channels of a token. */
  readonly dim: number
  /** Heads of attention. */
  readonly heads: number
  /** Channels of a head. */
  readonly dimHead: number
  /** Experts. */
  readonly numExperts: number
  /** Earlier tokens that local attention sees. */
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
  /** Whether routing is by cosine similarity. */
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
  /** How the tokens that an expert takes are chosen. */
  readonly selection: SelectionMethod
  /** Whether queries are chosen without looking ahead. */
  readonly causal: boolean
}

/** What a plan is made for: a device's threads, and how much it is worth giving it at once. */
export interface Capacity {
  /** Shares that a step is cut into. */
  readonly shares: number
  /** Most tokens of a piece. */
  readonly pieceRows: number
  /** Most bytes of one buffer. */
  readonly bufferBytes: number
  /** Most bytes of a piece's contexts, unless one window has more. */
  readonly contextBytes: number
  /** Whether the host sees what programs compute as they compute it. */
  readonly seesMemory: boolean
}

const UNLIMITED: Capacity = { shares: 1, pieceRows: Infinity, bufferBytes: Infinity, contextBytes: Infinity, seesMemory: true }

/** What a row of a piece takes of working memory, about: rows of a layer and of a feed-forward four times as wide, and rows of heads. */
const WORK_ROWS = 9
const WORK_HEADS = 6

/** Sizes that follow from a layer's numbers; lengths in floats. */
export interface Geometry {
  readonly numbers: LayerConfig
  /** Most tokens of a piece. */
  readonly pieceRows: number
  /** Most windows of a piece: of several only where a piece need not end with a window (layers that see the whole sequence). */
  readonly pieceWindows: number
  /** Tokens of a routed window, or of the whole sequence where that is shorter. */
  readonly windowCapacity: number
  /** Row of `dim` values, padded. */
  readonly stride: number
  /** One head, padded, so that every head begins on a vector and its panels are whole. */
  readonly headStride: number
  /** All heads of one row. */
  readonly inner: number
  /** Keys that the local buffer has room for: a window, a piece, and up to 7 to keep its front on a panel. */
  readonly localCapacity: number
  readonly localScoreStride: number
  /** Key/values that a context has room for, the null one included, whole panels. */
  readonly contextCapacity: number
  readonly contextScoreStride: number
  /** One expert's keys, or values, for one window. */
  readonly contextWords: number
  /** Row of raw similarity products: queries' and key/values', of all experts. */
  readonly productStride: number
}

/**
 * @param contexts most key/values that will serve a window, at most `numRoutedKeyValues`
 * @param length most tokens that a sequence will have; windows wider than that take no more memory than it
 * @param capacity default: that of a device without limits
 */
export function createGeometry(numbers: LayerConfig, contexts: number, length = Infinity, capacity: Capacity = UNLIMITED): Geometry {
  const windowCapacity = Math.max(1, Math.min(numbers.routedWindowSize, length))
  const localWindow = Math.min(numbers.localAttnWindowSize, length)
  const headStride = roundUp(numbers.dimHead)
  const inner = numbers.heads * headStride
  const stride = roundUp(numbers.dim)
  const contextCapacity = roundUp(Math.min(contexts, length) + 1)
  const { numExperts } = numbers
  const rowBytes = 4 * ((numExperts + WORK_ROWS) * stride + WORK_HEADS * inner)
  const mostRows = Math.max(1, Math.min(capacity.pieceRows, Math.floor(capacity.bufferBytes / rowBytes)))
  const contextBytes = 8 * numExperts * inner * contextCapacity
  const windows = Math.min(mostRows / windowCapacity, length / windowCapacity, capacity.contextBytes / contextBytes)
  const pieceWindows = numbers.causal ? 1 : Math.max(1, Math.floor(windows))
  const pieceRows = Math.min(mostRows, pieceWindows * windowCapacity)
  return {
    numbers,
    pieceRows,
    pieceWindows,
    windowCapacity,
    stride,
    headStride,
    inner,
    localCapacity: roundUp(localWindow + 7 + pieceRows),
    localScoreStride: roundUp(localWindow + MOST_TILE_ROWS + 14),
    contextCapacity,
    contextScoreStride: contextCapacity,
    contextWords: inner * contextCapacity,
    productStride: roundUp(2 * numbers.numExperts),
  }
}

/** Bytes of scores for each share: a tile of rows, and their reciprocal sums. */
export function scoreBytes(scoreStride: number): number {
  return (scoreStride * MOST_TILE_ROWS + 8) * 4
}

/** Operations that a token takes in a layer, about, multiply and add counted as two. */
export function workPerToken({ dim, heads, dimHead, localAttnWindowSize }: LayerConfig): number {
  return 2 * heads * dimHead * (4 * dim + 2 * localAttnWindowSize)
}
