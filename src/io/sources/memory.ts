import { describe, RoutedAttentionError } from '../../errors.js'
import { isUint8Array } from '../../realm.js'
import { movedAway } from '../moved-bytes.js'
import { among, type OpenFile, PIECE_BYTES, type Received, type Source } from './source.js'

/** Files given as bytes by name. They are not modified, and large ones are not copied. */
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
 * Presents bytes as a file. Small reads are copied, since the caller may transfer or shrink the buffer during a load;
 * for larger ones, the reader checks that the bytes still exist.
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
