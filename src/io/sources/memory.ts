import { describe, RoutedAttentionError } from '../../errors.js'
import { isUint8Array } from '../../realm.js'
import { detachedError } from '../detached-bytes.js'
import { amongNames, type OpenFile, PIECE_BYTES, type Source } from './source.js'

/** Files given as bytes by name. They are neither modified nor copied. */
export function memorySource(files: ReadonlyMap<string, Uint8Array>): Source {
  const sizes = new Map([...files].map(([file, bytes]: [string, unknown]) => [file, isUint8Array(bytes) ? bytes.length : 0]))
  return {
    name: 'the Map',
    isLocal: true,
    open: async (file) => {
      if (!files.has(file)) return { missing: `no such key${amongNames(files.keys())}`, isReplaced: false }
      const bytes: unknown = files.get(file)
      if (!isUint8Array(bytes))
        throw new RoutedAttentionError('BAD_ARGUMENT', `${file} in the Map must be a Uint8Array, got ${describe(bytes)}`)
      if (bytes.length < (sizes.get(file) ?? 0)) throw detachedError(file)
      return memoryFile(bytes, file)
    },
  }
}

/** Presents bytes as a file. The caller may transfer or shrink their buffer during a load. */
export function memoryFile(bytes: Uint8Array, what: string): OpenFile {
  const size = bytes.length
  let position = 0
  return {
    size,
    sizeHint: size,
    next: async (most: number) => {
      if (bytes.length < size) throw detachedError(what)
      if (position === size) return undefined
      const piece = bytes.subarray(position, position + Math.min(most, PIECE_BYTES))
      position += piece.length
      return piece
    },
    close: async () => {},
  }
}
