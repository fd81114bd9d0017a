import { describe, RoutedAttentionError } from '../../errors.js'

/** Called with the bytes that have just arrived, in their order; what it throws ends the reading. */
export type Received = (bytes: Uint8Array) => void

/** One file of a model, read once from its start to its end. */
export interface OpenFile {
  /** Bytes of the whole file, where that is known for certain. */
  readonly size: number | undefined
  /** The same where it may be wrong: for progress only. */
  readonly sizeHint: number | undefined
  /**
   * The next `length` bytes; fewer only where the file ends. The caller does not write to them.
   * @throws FileRestarted where the file has `restart`
   */
  take(length: number, received: Received): Promise<Uint8Array>
  /**
   * Of a file that may restart, called when it did: the file from its first byte, or what came in its place. Closes it
   * where it fails.
   */
  restart?(): Promise<OpenFile | MissingFile>
  /** Called with all of a file that proved right, in order: a source with a cache keeps it. */
  keep?(parts: readonly Uint8Array[]): Promise<void>
  /** Of a file from a cache, called when it proved broken: it is forgotten, and asked for anew. */
  drop?(): Promise<void>
  close(): Promise<void>
}

/** Thrown by `take` when a transfer had to begin again: what was taken before belongs to no file any more. */
export class FileRestarted extends Error {}

/** Why a file could not be opened. */
export interface MissingFile {
  readonly missing: string
  /** Something else was there in its place. */
  readonly isReplaced: boolean
  /** The host's answer, where there was one. */
  readonly status?: number
  /** Set where the file may be there all the same: how asking for it failed. */
  readonly failure?: RoutedAttentionError
}

export interface OpenOptions {
  /** Do not take it from a cache. */
  readonly fresh?: boolean
  /**
   * There may be no such file, and the model can do without it: it is asked for once, a failure is told as `failure`
   * rather than thrown, and a source with a cache keeps the knowledge that it is not there.
   */
  readonly mayBeAbsent?: boolean
}

/** Where the files of a model come from. */
export interface Source {
  /** What it is called in messages. */
  readonly name: string
  /** Whether a file may be opened twice at no cost: headers are then checked before any body is read. */
  readonly isLocal: boolean
  /** @throws RoutedAttentionError `BAD_FILE` when it may be there but cannot be read, `NETWORK` when that may pass */
  open(file: string, options?: OpenOptions): Promise<OpenFile | MissingFile>
}

export function isMissing(file: object): file is MissingFile {
  return 'missing' in file
}

/** The names that are there, the first of them, for a message that says which is not. */
export function among(names: Iterable<unknown>): string {
  const all = [...names]
  if (all.length === 0) return '; it is empty'
  const rest = all.length > MOST_NAMED ? ` and ${all.length - MOST_NAMED} more` : ''
  return ` among ${all.slice(0, MOST_NAMED).map(describe).join(', ')}${rest}`
}

const MOST_NAMED = 5

/** Pieces in which local files are read and written, so that a signal is looked at in between. */
export const PIECE_BYTES = 2 ** 24

/** @throws RoutedAttentionError `OUT_OF_MEMORY` */
export function allocateBytes(length: number, what: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(length)
  } catch (cause) {
    throw new RoutedAttentionError('OUT_OF_MEMORY', `cannot allocate ${length} bytes for ${what}`, { cause })
  }
}

/** Settles as `operation` does, or rejects with the signal's reason if that comes first; leaves no listener behind. */
export function untilAborted<T>(signal: AbortSignal | undefined, operation: PromiseLike<T>): Promise<T> {
  if (signal === undefined) return Promise.resolve(operation)
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => {
      signal.removeEventListener('abort', onAbort)
      reject(signal.reason as Error)
    }
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort)
    void Promise.resolve(operation) // whatever a caller's function gave
      .then(resolve, reject)
      .then(() => signal.removeEventListener('abort', onAbort))
  })
}
