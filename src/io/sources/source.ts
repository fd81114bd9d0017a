import { describe, RoutedAttentionError } from '../../errors.js'

/** One file of a model, read once from start to end. */
export interface OpenFile {
  /** Size of the whole file in bytes, if certain. */
  readonly size: number | undefined
  /** The same, if it may be wrong; for progress only. */
  readonly sizeHint: number | undefined
  /**
   * The next bytes as they come, at most `most`; undefined at the end of the file. They are valid until the next call,
   * and the caller must not modify them.
   * @throws FileRestarted if the file has `restart`
   */
  next(most: number): Promise<Uint8Array | undefined>
  /** Called after a restart: returns the file from its first byte, or what replaced it. Closes it on failure. */
  restart?(): Promise<OpenFile | MissingFile>
  /**
   * A source with a cache stores what is written here.
   * @param size of the whole file in bytes
   */
  keep?(size: number): EntryWriter
  /** Called if a cached file turns out to be broken: it is removed and requested again. */
  drop?(): Promise<void>
  close(): Promise<void>
}

/** Stores a file as it arrives. It is there for others once it was verified and committed; unless it is, it must be aborted. */
export interface EntryWriter {
  /** Writes the next bytes, which may be kept until the commit: the caller must not modify them. */
  write(bytes: Uint8Array): Promise<void>
  commit(): Promise<void>
  /** Removes what was written. Does nothing after a commit. */
  abort(): Promise<void>
}

/** Thrown by `next` if a transfer had to start over: earlier bytes are invalid. */
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
export function amongNames(names: Iterable<unknown>): string {
  const all = [...names]
  if (all.length === 0) return '; it is empty'
  const rest = all.length > MAX_NAMED ? ` and ${all.length - MAX_NAMED} more` : ''
  return ` among ${all.slice(0, MAX_NAMED).map(describe).join(', ')}${rest}`
}

const MAX_NAMED = 5

/** Local files are read and written in pieces of this size, checking the signal in between. */
export const PIECE_BYTES = 2 ** 20

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
