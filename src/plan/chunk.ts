import type { LayerConfig } from './config.js'
import { DispatchHeader } from '../../assembly/ir/header.js'
import type { Dispatch } from '../device/device.js'
import type { Geometry } from './geometry.js'

/** The position of a sequence. */
export interface Cursor {
  /** Absolute position of the next token. */
  readonly position: number
  /**
   * Absolute position of the first key in the local buffers, a multiple of 8, so that lanes of scores are positions
   * modulo 4.
   */
  readonly base: number
}

/** Length of the next chunk, which stays within one routed window or consists of several whole ones. */
export function nextChunkRows({ chunkRows, chunkWindows, config }: Geometry, position: number, remaining: number): number {
  const window = config.routedWindowSize
  if (chunkWindows > 1) return Math.min(remaining, chunkRows)
  return Math.min(remaining, chunkRows, window - (position % window))
}

/** Where the local buffer will start once it has room for the chunk. */
function nextBase({ localCapacity, config }: Geometry, { position, base }: Cursor, rows: number): number {
  if (position - base + rows <= localCapacity) return base
  return firstBase(config, position)
}

/** Where a local buffer starts that holds no more than necessary: what the last token attended to. */
export function firstBase(config: LayerConfig, position: number): number {
  return Math.floor((position - localCount(config, position)) / 8) * 8
}

/** Number of tokens that the last one before a position attended to, itself included. */
export function localCount({ localAttnWindowSize }: LayerConfig, position: number): number {
  return Math.min(position, localAttnWindowSize + 1)
}

/** Number of tokens before a position whose window is open: it is closed by the next token, if that begins another. */
export function openCount({ routedWindowSize }: LayerConfig, position: number): number {
  return position === 0 ? 0 : ((position - 1) % routedWindowSize) + 1
}

/**
 * Number of tokens in the window that a causal layer's chunk closes, all of which compete for the contexts before the
 * chunk's own are read: a window's, if the chunk begins at its end; otherwise 0. So until another token comes, a state
 * has what its last token attended to.
 */
export function closingRows({ routedWindowSize }: LayerConfig, position: number): number {
  return position > 0 && position % routedWindowSize === 0 ? routedWindowSize : 0
}

/** Whether a chunk overwrites earlier state that may still be read, rather than only adding to it. */
export function needsCopyOnWrite(geometry: Geometry, cursor: Cursor, rows: number): boolean {
  return closingRows(geometry.config, cursor.position) > 0 || overwritesRecent(geometry, cursor, rows)
}

/**
 * The same of what is kept of recent tokens: local keys and values, and inputs. What closes a window changes contexts and
 * the open window's router scores besides.
 */
export function overwritesRecent(geometry: Geometry, cursor: Cursor, rows: number): boolean {
  const { config, inputRows } = geometry
  const { position } = cursor
  const held = Math.max(openCount(config, position), localCount(config, position))
  return held + rows > inputRows || movesOntoItself(geometry, cursor, rows)
}

/**
 * Whether the local buffer moves to where some of the keys that it retains are: whole panels of 8. Otherwise those stay
 * as they were, and the move may be repeated.
 */
function movesOntoItself(geometry: Geometry, cursor: Cursor, rows: number): boolean {
  const base = nextBase(geometry, cursor, rows)
  return base !== cursor.base && cursor.position - base + rows > base - cursor.base
}

/** Number of key/values for the window of a position: the tokens of all earlier windows, or as many as are chosen. */
export function contextCount({ routedWindowSize, numRoutedKeyValues }: LayerConfig, position: number): number {
  return Math.min(numRoutedKeyValues, Math.floor(position / routedWindowSize) * routedWindowSize)
}

/** Number of key/values that a state holds before a position: those of the last token's window, until it is closed. */
export function heldCount(config: LayerConfig, position: number): number {
  return contextCount(config, Math.max(0, position - 1))
}

/** Row of a position in the ring of a causal layer's recent inputs. */
export function inputRow({ inputRows }: Geometry, position: number): number {
  return position % inputRows
}

/** Sets the header for a chunk of `rows` tokens, and returns the cursor after it. */
export function describeChunk(dispatch: Dispatch, geometry: Geometry, cursor: Cursor, rows: number): Cursor {
  const base = fillHeader(dispatch, geometry, cursor, rows)
  return { position: cursor.position + rows, base }
}

/** The same without allocating an object: returns the `base` after the chunk. */
export function fillHeader(dispatch: Dispatch, geometry: Geometry, cursor: Cursor, rows: number): number {
  const { position } = cursor
  const window = geometry.config.routedWindowSize
  const offset = position % window
  const closing = closingRows(geometry.config, position)
  const base = nextBase(geometry, cursor, rows)
  dispatch.set(DispatchHeader.Rows, rows)
  dispatch.set(DispatchHeader.WindowOffset, offset)
  dispatch.set(DispatchHeader.WindowStart, Number(offset === 0))
  dispatch.set(DispatchHeader.Routed, Number(position + rows > window || position >= window))
  dispatch.set(DispatchHeader.Unrouted, Math.max(0, Math.min(rows, window - position)))
  dispatch.set(DispatchHeader.Windows, Math.ceil((offset + rows) / window))
  dispatch.set(DispatchHeader.Window, Math.floor(position / window))
  dispatch.set(DispatchHeader.ClosingRows, closing)
  dispatch.set(DispatchHeader.ClosingContextCount, heldCount(geometry.config, position))
  dispatch.set(DispatchHeader.ContextCount, contextCount(geometry.config, position))
  dispatch.set(DispatchHeader.LocalIndex, position - base)
  dispatch.set(DispatchHeader.LocalDrop, base - cursor.base)
  dispatch.set(DispatchHeader.InputRow, inputRow(geometry, position))
  dispatch.set(DispatchHeader.ClosingInputRow, inputRow(geometry, position - closing))
  dispatch.setPosition(DispatchHeader.Position, position)
  dispatch.setPosition(DispatchHeader.ClosingPosition, position - closing)
  return base
}
