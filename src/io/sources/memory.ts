import { describe, RoutedAttentionError } from '../../errors.js'
import type { OpenFile, Received, Source } from './source.js'

/** Files that are bytes already, by name. They are neither changed nor copied. */
export function memorySource(files: ReadonlyMap<string, Uint8Array>): Source {
  return {
    name: 'the Map',
    isLocal: true,
    open: async (file) => {
      if (!files.has(file)) return { missing: 'no such key', isReplaced: false }
      const bytes: unknown = files.get(file)
      if (!(bytes instanceof Uint8Array))
        throw new RoutedAttentionError('BAD_ARGUMENT', `${file} in the Map must be a Uint8Array, got ${describe(bytes)}`)
      return memoryFile(bytes)
    },
  }
}

/** Bytes as a file. */
export function memoryFile(bytes: Uint8Array): OpenFile {
  let position = 0
  return {
    size: bytes.length,
    sizeHint: bytes.length,
    take: async (length: number, received: Received) => {
      const taken = bytes.subarray(position, position + length)
      position += taken.length
      if (taken.length > 0) received(taken)
      return taken
    },
    close: async () => {},
  }
}
