import type { LayerConfig } from './config.js'
import { MOST_TILE_ROWS } from '../../assembly/ir/sizes.js'
import { roundUp } from './memory/layout.js'

/** What a plan is made for: a device's threads, and how much it is worth giving it at once. */
export interface Capacity {
  /** Partitions that an op is cut into. */
  readonly partitions: number
  /** Most tokens of a chunk. */
  readonly chunkRows: number
  /** Most bytes of one buffer. */
  readonly bufferBytes: number
  /** Most bytes of a chunk's contexts, unless one window has more. */
  readonly contextBytes: number
  /** Whether the host sees what programs compute as they compute it. */
  readonly hostVisible: boolean
}

const UNLIMITED: Capacity = { partitions: 1, chunkRows: Infinity, bufferBytes: Infinity, contextBytes: Infinity, hostVisible: true }

/**
 * What a row of a chunk takes of working memory, about: rows of a layer and of a feed-forward four times as wide, and
 * rows of heads.
 */
const WORK_ROWS = 9
const WORK_HEADS = 6

/** Sizes that follow from a layer's numbers; lengths in floats. */
export interface Geometry {
  readonly config: LayerConfig
  /** Most tokens of a chunk. */
  readonly chunkRows: number
  /**
   * Most windows of a chunk: of several only where a chunk need not end with a window (layers that see the whole
   * sequence).
   */
  readonly chunkWindows: number
  /** Tokens of a routed window, or of the whole sequence where that is shorter. */
  readonly windowCapacity: number
  /** Row of `dim` values, padded. */
  readonly stride: number
  /** One head, padded, so that every head begins on a vector and its panels are whole. */
  readonly headStride: number
  /** All heads of one row. */
  readonly inner: number
  /** Keys that the local buffer has room for: a window, a chunk, and up to 7 to keep its front on a panel. */
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
export function createGeometry(config: LayerConfig, contexts: number, length = Infinity, capacity: Capacity = UNLIMITED): Geometry {
  const windowCapacity = Math.max(1, Math.min(config.routedWindowSize, length))
  const localWindow = Math.min(config.localAttnWindowSize, length)
  const headStride = roundUp(config.dimHead)
  const inner = config.heads * headStride
  const stride = roundUp(config.dim)
  const contextCapacity = roundUp(Math.min(contexts, length) + 1)
  const { numExperts } = config
  const rowBytes = 4 * ((numExperts + WORK_ROWS) * stride + WORK_HEADS * inner)
  const mostRows = Math.max(1, Math.min(capacity.chunkRows, Math.floor(capacity.bufferBytes / rowBytes)))
  const contextBytes = 8 * numExperts * inner * contextCapacity
  const windows = Math.min(mostRows / windowCapacity, length / windowCapacity, capacity.contextBytes / contextBytes)
  const chunkWindows = config.causal ? 1 : Math.max(1, Math.floor(windows))
  const chunkRows = Math.min(mostRows, chunkWindows * windowCapacity)
  return {
    config,
    chunkRows,
    chunkWindows,
    windowCapacity,
    stride,
    headStride,
    inner,
    localCapacity: roundUp(localWindow + 7 + chunkRows),
    localScoreStride: roundUp(localWindow + MOST_TILE_ROWS + 14),
    contextCapacity,
    contextScoreStride: contextCapacity,
    contextWords: inner * contextCapacity,
    productStride: roundUp(2 * config.numExperts),
  }
}

/** Bytes of scores for each partition: a tile of rows, and their reciprocal sums. */
export function scoreBytes(scoreStride: number): number {
  return (scoreStride * MOST_TILE_ROWS + 8) * 4
}

/** Operations that a token takes in a layer, about, multiply and add counted as two. */
export function workPerToken({ dim, heads, dimHead, localAttnWindowSize }: LayerConfig): number {
  return 2 * heads * dimHead * (4 * dim + 2 * localAttnWindowSize)
}
