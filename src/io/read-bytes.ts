import { allocateBytes, type OpenFile } from './sources/source.js'

/** Initial capacity of the buffer if the file's length is unknown. */
const FIRST_CAPACITY = 2 ** 16

/** Called with newly arrived bytes, in order; anything it throws ends the reading. */
export type Received = (bytes: Uint8Array) => void

/**
 * The next `length` bytes of a file, in a buffer of their own; fewer only at its end.
 * @throws FileRestarted; RoutedAttentionError `OUT_OF_MEMORY`, or as the file does
 */
export async function readBytes(file: OpenFile, length: number, what: string, received: Received): Promise<Uint8Array> {
  let target = allocateBytes(Math.min(length, file.size ?? FIRST_CAPACITY), what)
  let filled = 0
  while (filled < length) {
    const piece = await file.next(length - filled)
    if (piece === undefined) break
    if (piece.length === 0) continue // a caller's bytes that are gone: the next call says so
    if (filled + piece.length > target.length) {
      const grown = allocateBytes(Math.min(length, Math.max(2 * target.length, filled + piece.length)), what)
      grown.set(target.subarray(0, filled))
      target = grown
    }
    target.set(piece, filled)
    filled += piece.length
    received(piece)
  }
  return target.subarray(0, filled)
}
