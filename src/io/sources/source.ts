import { describe, RoutedAttentionError } from '../../errors.js'

/** Called with newly arrived bytes, in order; anything it throws ends the reading. */
export type Received = (bytes: Uint8Array) => void

/** One file of a model, read once from start to end. */
export interface OpenFile {
  /** Size of the whole file in bytes, if certain. */
  readonly size: number | undefined
  /** The same, if it may be wrong; for progress only. */
  readonly sizeHint: number | undefined
  /**
   * The next `length` bytes; fewer only at the end of the file. The caller must not modify them.
   * @throws FileRestarted if the file has `restart`
   */
  take(length: number, received: Received): Promise<Uint8Array>
  /** Called after a restart: returns the file from its first byte, or what replaced it. Closes it on failure. */
  restart?(): Promise<OpenFile | MissingFile>
  /** Called with the whole file, in order, once it has been verified: a source with a cache stores it. */
  keep?(parts: readonly Uint8Array[]): Promise<void>
  /** Called if a cached file turns out to be broken: it is removed and requested again. */
  drop?(): Promise<void>
  close(): Promise<void>
}

/** Thrown by `take` if a transfer had to start over: earlier bytes are invalid. */
export class FileRestarted extends Error {}

/** Why a file could not be opened. */
export interface MissingFile {
  readonly missing: string
  /** Something else was in its place. */
  readonly isReplaced: boolean
  /** The HTTP status, if there was a response. */
  readonly status?: number
  /** Set if the file may exist all the same: how the request failed. */
  readonly failure?: RoutedAttentionError
}

export interface OpenOptions {
  /** Bypass the cache. */
  readonly fresh?: boolean
  /**
   * The file is optional: it is requested once, a failure is returned as `failure` rather than thrown, and a source
   * with a cache records its absence.
   */
  readonly mayBeAbsent?: boolean
}

/** Where the files of a model come from. */
export interface Source {
  /** Name for messages. */
  readonly name: string
  /** Whether a file can be opened twice at no cost: headers are then checked before any body is read. */
  readonly isLocal: boolean
  /** @throws RoutedAttentionError `BAD_FILE` if it may exist but cannot be read, `NETWORK` if that may be temporary */
  open(file: string, options?: OpenOptions): Promise<OpenFile | MissingFile>
}

export function isMissing(file: object): file is MissingFile {
  return 'missing' in file
}

/** The first of the names that exist, for a message about one that does not. */
export function among(names: Iterable<unknown>): string {
  const all = [...names]
  if (all.length === 0) return '; it is empty'
  const rest = all.length > MOST_NAMED ? ` and ${all.length - MOST_NAMED} more` : ''
  return ` among ${all.slice(0, MOST_NAMED).map(describe).join(', ')}${rest}`
}

const MOST_NAMED = 5

/** Local files are read and written in blocks of this size, checking the signal in between. */
export const PIECE_BYTES = 2 ** 24

/** @throws RoutedAttentionError `OUT_OF_MEMORY` */
export function allocateBytes(length: number, what: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(length)
  } catch (cause) {
    throw new RoutedAttentionError('OUT_OF_MEMORY', `cannot allocate ${length} bytes for ${what}`, { cause })
  }
}

/** Settles as `operation` does, or rejects with the signal's reason if that comes first; removes its listener. */
export function untilAborted<T>(signal: AbortSignal | undefined, operation: PromiseLike<T>): Promise<T> {
  if (signal === undefined) return Promise.resolve(operation)
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => {
      signal.removeEventListener('abort', onAbort)
      reject(signal.reason as Error)
    }
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort)
    void Promise.resolve(operation) // A caller's function may return anything
      .then(resolve, reject)
      .then(() => signal.removeEventListener('abort', onAbort))
  })
}
