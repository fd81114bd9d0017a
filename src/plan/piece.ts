import { Piece } from '../../assembly/steps.js'
import type { Run } from '../device/device.js'
import type { Geometry, LayerConfig } from './geometry.js'

/** How far a sequence has come. */
export interface Place {
  /** Absolute position of the next token. */
  readonly position: number
  /** Absolute position of the first key in the local buffers, a multiple of 8: lanes of scores then are positions modulo 4. */
  readonly base: number
}

/** Length of the next piece: it stays within one routed window, or is several whole ones. */
export function nextPieceRows({ pieceRows, pieceWindows, numbers }: Geometry, position: number, remaining: number): number {
  const window = numbers.routedWindowSize
  if (pieceWindows > 1) return Math.min(remaining, pieceRows)
  return Math.min(remaining, pieceRows, window - (position % window))
}

/** Where the local buffer will begin once it has room for the piece. */
function nextBase({ localCapacity, numbers }: Geometry, { position, base }: Place, rows: number): number {
  if (position - base + rows <= localCapacity) return base
  return Math.floor(Math.max(0, position - numbers.localAttnWindowSize) / 8) * 8
}

/** Whether a piece overwrites what the state held before it, instead of only writing behind it. */
export function overwrites(geometry: Geometry, place: Place, rows: number): boolean {
  return (place.position + rows) % geometry.numbers.routedWindowSize === 0 || nextBase(geometry, place, rows) !== place.base
}

/** Key/values that serve the window of a position: all earlier windows' tokens, or as many as are chosen. */
export function contextCount({ routedWindowSize, numRoutedKeyValues }: LayerConfig, position: number): number {
  return Math.min(numRoutedKeyValues, Math.floor(position / routedWindowSize) * routedWindowSize)
}

/** Fills the header for a piece of `rows` tokens, and returns the place behind it. */
export function describePiece(run: Run, geometry: Geometry, place: Place, rows: number): Place {
  const base = fillHeader(run, geometry, place, rows)
  return { position: place.position + rows, base }
}

/** The same without an object: returns the `base` behind the piece. */
export function fillHeader(run: Run, geometry: Geometry, place: Place, rows: number): number {
  const { position } = place
  const window = geometry.numbers.routedWindowSize
  const offset = position % window
  const base = nextBase(geometry, place, rows)
  run.set(Piece.Rows, rows)
  run.set(Piece.WindowOffset, offset)
  run.set(Piece.Opens, Number(offset === 0))
  run.set(Piece.Closes, Number(offset + rows === window))
  run.set(Piece.Routed, Number(position + rows > window || position >= window))
  run.set(Piece.Unrouted, Math.max(0, Math.min(rows, window - position)))
  run.set(Piece.Windows, Math.ceil((offset + rows) / window))
  run.set(Piece.Window, Math.floor(position / window))
  run.set(Piece.ClosingRows, offset + rows === window ? window : 0)
  run.set(Piece.ContextCount, contextCount(geometry.numbers, position))
  run.set(Piece.LocalIndex, position - base)
  run.set(Piece.LocalDrop, base - place.base)
  run.set(Piece.LocalKept, position - base)
  run.setPosition(Piece.Position, position)
  run.setPosition(Piece.WindowPosition, position - offset)
  return base
}
