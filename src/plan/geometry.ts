import type { LayerConfig } from './config.js'
import { MAX_TILE_ROWS } from '../../assembly/ir/sizes.js'
import { roundUp } from './memory/layout.js'

/** The limits a plan is made for: a device's partitions, and the sizes that suit it. */
export interface PlanLimits {
  /** Partitions per op. */
  readonly partitions: number
  /** Maximum tokens per chunk. */
  readonly chunkRows: number
  /** Maximum bytes of one buffer. */
  readonly bufferBytes: number
  /** Maximum bytes of a chunk's contexts, unless a single window needs more. */
  readonly contextBytes: number
  /** Maximum sequences of which one dispatch may have a token each. */
  readonly sequences: number
  /** Whether the host can read memory while programs run. */
  readonly hostVisible: boolean
}

const UNLIMITED: PlanLimits = {
  partitions: 1,
  chunkRows: Infinity,
  bufferBytes: Infinity,
  contextBytes: Infinity,
  sequences: 1,
  hostVisible: true,
}

/**
 * Approximate working memory per row of a chunk, in rows: rows of a layer, of a feed-forward four times as wide, and of
 * heads.
 */
const WORK_ROWS = 9
const WORK_HEADS = 6

/** Sizes derived from a layer's configuration; lengths in floats. */
export interface Geometry {
  readonly config: LayerConfig
  /** Maximum rows of a dispatch: of one sequence's chunk, or of several sequences. */
  readonly chunkRows: number
  /** Maximum windows per chunk: several only if a chunk need not end with a window (full-sequence layers). */
  readonly chunkWindows: number
  /** Tokens of a routed window, or of the whole sequence if that is shorter. */
  readonly windowCapacity: number
  /** Rows in the ring of a causal layer's recent inputs: those of the open window, at least. */
  readonly inputRows: number
  /** A row of `dim` values, padded. */
  readonly stride: number
  /** One head, padded, so that every head starts on a vector and consists of whole panels. */
  readonly headStride: number
  /** All heads of one row. */
  readonly inner: number
  /**
   * Keys that fit in the local buffer: those that a token attends to, a chunk, and up to 7 to keep its front aligned to a
   * panel.
   */
  readonly localCapacity: number
  readonly localScoreStride: number
  /** Key/values that fit in a context, including the null KV, rounded up to whole panels. */
  readonly contextCapacity: number
  readonly contextScoreStride: number
  /** Key/values of a context, without the null KV. */
  readonly contextRows: number
  /** One expert's keys, or values, for one window. */
  readonly contextWords: number
  /** A row of raw router products: those of queries and of key/values, for all experts. */
  readonly productStride: number
}

/** Maximum context size that `length` tokens can fill. */
export function contextsOf({ numRoutedKeyValues, routedWindowSize }: LayerConfig, length: number): number {
  return Math.min(numRoutedKeyValues, Math.ceil(length / routedWindowSize) * routedWindowSize)
}

/**
 * @param contexts maximum key/values for a window, at most `numRoutedKeyValues`
 * @param length maximum tokens of a sequence; wider windows take no more memory than that
 * @param limits default: a device without limits
 */
export function createGeometry(config: LayerConfig, contexts: number, length = Infinity, limits: PlanLimits = UNLIMITED): Geometry {
  const windowCapacity = Math.max(1, Math.min(config.routedWindowSize, length))
  const localWindow = Math.min(config.localAttnWindowSize, length)
  const headStride = roundUp(config.dimHead)
  const inner = config.heads * headStride
  const stride = roundUp(config.dim)
  const contextRows = Math.min(contexts, length)
  const contextCapacity = roundUp(contextRows + 1)
  const { numExperts } = config
  const rowBytes = 4 * ((numExperts + WORK_ROWS) * stride + WORK_HEADS * inner)
  const maxRows = Math.max(1, Math.min(limits.chunkRows, Math.floor(limits.bufferBytes / rowBytes)))
  const contextBytes = 8 * numExperts * inner * contextCapacity
  const windows = Math.min(maxRows / windowCapacity, length / windowCapacity, limits.contextBytes / contextBytes)
  const chunkWindows = config.causal ? 1 : Math.max(1, Math.floor(windows))
  const sequenceRows = Math.min(maxRows, chunkWindows * windowCapacity)
  // a chunk of one sequence ends with its window, however small; a row for each of several sequences need not
  const chunkRows = config.causal ? Math.max(sequenceRows, Math.min(maxRows, limits.sequences)) : sequenceRows
  return {
    config,
    chunkRows,
    chunkWindows,
    windowCapacity,
    inputRows: windowCapacity,
    stride,
    headStride,
    inner,
    localCapacity: roundUp(localWindow + 8 + sequenceRows),
    localScoreStride: roundUp(localWindow + MAX_TILE_ROWS + 14),
    contextCapacity,
    contextScoreStride: contextCapacity,
    contextRows,
    contextWords: inner * contextCapacity,
    productStride: roundUp(2 * config.numExperts),
  }
}

/** Part of a chunk that can be read without overwriting what the ring of inputs still holds. */
const INPUTS_AHEAD = 3 / 4

/**
 * Rows in the ring of recent inputs of a layer whose state can be saved: those of the open window and of the tokens that
 * one attends to, and most of a chunk's ahead of them. Longer chunks take a copy of the state (`needsCopyOnWrite`).
 */
export function savableInputRows({ config, chunkRows, windowCapacity }: Geometry, length: number): number {
  const held = Math.max(windowCapacity, config.localAttnWindowSize + 1)
  return Math.min(held + Math.ceil(INPUTS_AHEAD * Math.min(chunkRows, windowCapacity)), length)
}

/** Bytes of scores per partition: a tile of rows, and their reciprocal sums. */
export function scoreBytes(scoreStride: number): number {
  return (scoreStride * MAX_TILE_ROWS + 8) * 4
}

/** Operations for the keys and values of a token, of one expert or of local attention, a multiply-add counting as two. */
export function projectionWork({ dim, heads, dimHead }: LayerConfig): number {
  return 4 * dim * heads * dimHead
}

/** Approximate number of operations per token in a layer, a multiply-add counting as two. */
export function workPerToken({ dim, heads, dimHead, localAttnWindowSize }: LayerConfig): number {
  return 2 * heads * dimHead * (4 * dim + 2 * localAttnWindowSize)
}

/**
 * Number of groups of heads that a thread can process alone from product to attention: whole heads, and whole groups of
 * a product's panels.
 */
export function headGroups({ config, headStride, inner }: Geometry): number {
  if (headStride % 32 === 0) return config.heads
  let [a, b] = [config.heads, inner / 32]
  if (!Number.isInteger(b)) return 1
  while (b > 0) [a, b] = [b, a % b]
  return a
}
