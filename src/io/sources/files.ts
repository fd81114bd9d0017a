import { describe, RoutedAttentionError, reasonOf } from '../../errors.js'
import type { FileLike } from '../read-options.js'
import { memoryFile } from './memory.js'
import { amongNames, type OpenFile, PIECE_BYTES, type Source, untilAborted } from './source.js'

/** Files that a user picked or dropped; matched by name only, ignoring folders. */
export function filesSource(files: readonly FileLike[], signal?: AbortSignal): Source {
  for (const file of files as readonly unknown[]) {
    if (!isFileLike(file))
      throw new RoutedAttentionError('BAD_ARGUMENT', `a list of model files must hold File objects, got ${describe(file)}`)
  }
  return {
    name: 'the list of files',
    isLocal: true,
    open: async (name) => {
      const [file, another] = files.filter((candidate) => candidate.name === name)
      if (file === undefined) return { missing: `no such file${amongNames(files.map((candidate) => candidate.name))}`, isReplaced: false }
      if (another !== undefined)
        throw new RoutedAttentionError('BAD_FILE', `${name} is in the list of files more than once; pass the files of one folder`)
      if (file.slice === undefined) return memoryFile(await read(file, name, signal), name)
      return new PickedFile(file, signal)
    },
  }
}

class PickedFile implements OpenFile {
  readonly size: number
  readonly sizeHint: number
  private position = 0

  constructor(
    private readonly file: FileLike,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.size = file.size
    this.sizeHint = file.size
  }

  async next(most: number): Promise<Uint8Array | undefined> {
    const end = Math.min(this.position + Math.min(most, PIECE_BYTES), this.size)
    if (end <= this.position) return undefined
    const bytes = await read(this.file.slice!(this.position, end), this.file.name, this.signal)
    if (bytes.length === 0 || bytes.length > end - this.position) return undefined
    this.position += bytes.length
    return bytes
  }

  async close(): Promise<void> {}
}

async function read(part: { arrayBuffer(): Promise<ArrayBuffer> }, name: string, signal: AbortSignal | undefined): Promise<Uint8Array> {
  try {
    return new Uint8Array(await untilAborted(signal, part.arrayBuffer()))
  } catch (cause) {
    if (signal?.aborted) throw signal.reason
    const advice = CHANGED.includes((cause as Partial<Error> | undefined)?.name ?? '')
      ? '; it was changed or moved after it was picked: pick it again'
      : ''
    throw new RoutedAttentionError('BAD_FILE', `cannot read ${name}: ${reasonOf(cause)}${advice}`, { cause })
  }
}

/** Names of the errors that browsers give for a file that changed since it was picked. */
const CHANGED = ['NotReadableError', 'NotFoundError']

function isFileLike(value: unknown): value is FileLike {
  if (typeof value !== 'object' || value === null) return false
  const { name, size, arrayBuffer, slice } = value as Partial<Record<keyof FileLike, unknown>>
  const isSliceable = slice === undefined || typeof slice === 'function'
  return typeof name === 'string' && Number.isSafeInteger(size) && (size as number) >= 0 && typeof arrayBuffer === 'function' && isSliceable
}
