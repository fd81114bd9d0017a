import { describe, RoutedAttentionError } from '../../errors.js'
import { isUint8Array } from '../../realm.js'
import { movedAway } from '../moved-bytes.js'
import { among, type OpenFile, PIECE_BYTES, type Received, type Source } from './source.js'

/** Files that are bytes already, by name. They are not changed, and what is large is not copied. */
export function memorySource(files: ReadonlyMap<string, Uint8Array>): Source {
  const sizes = new Map([...files].map(([file, bytes]: [string, unknown]) => [file, isUint8Array(bytes) ? bytes.length : 0]))
  return {
    name: 'the Map',
    isLocal: true,
    open: async (file) => {
      if (!files.has(file)) return { missing: `no such key${among(files.keys())}`, isReplaced: false }
      const bytes: unknown = files.get(file)
      if (!isUint8Array(bytes))
        throw new RoutedAttentionError('BAD_ARGUMENT', `${file} in the Map must be a Uint8Array, got ${describe(bytes)}`)
      if (bytes.length < (sizes.get(file) ?? 0)) throw movedAway(file)
      return memoryFile(bytes, file)
    },
  }
}

/**
 * Bytes as a file. What is small is copied as it is taken: others may transfer the bytes away, or shrink their buffer,
 * while a load is under way. Whoever takes more looks whether it is still there.
 */
export function memoryFile(bytes: Uint8Array, what: string): OpenFile {
  const size = bytes.length
  let position = 0
  return {
    size,
    sizeHint: size,
    take: async (length: number, received: Received) => {
      if (bytes.length < size) throw movedAway(what)
      const end = Math.min(position + length, size)
      const taken = end - position > PIECE_BYTES ? bytes.subarray(position, end) : new Uint8Array(bytes.subarray(position, end))
      position += taken.length
      if (taken.length > 0) received(taken)
      return taken
    },
    close: async () => {},
  }
}
