import type { FetchResponse, Signal, Url } from '../platform.js'

/** How far a long call has come. */
export interface LoadProgress {
  readonly type: 'load'
  /** Bytes so far. */
  readonly done: number
  /** Bytes in all, of the files known so far: it may grow, and equals `done` in the end. */
  readonly total: number
}

/** What is asked of a browser's File. */
export interface FileLike {
  readonly name: string
  readonly size: number
  arrayBuffer(): Promise<ArrayBuffer>
  /** Where it is missing, the file is read whole. */
  slice?(start: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> }
}

/** What is asked of a `Cache` of the Cache API. */
export interface CacheLike {
  match(url: string): Promise<FetchResponse | undefined>
  put(url: string, response: FetchResponse): Promise<void>
}

/** `fetch`, or a function in its place: for headers of one's own, or another way to the bytes. */
export type Fetch = (url: string, init: { signal: Signal }) => Promise<FetchResponse>

/**
 * The folder of a model: a path where there is a file system, an http(s) or file URL with or without a trailing slash,
 * the files a user picked, or bytes by name.
 */
export type ModelSource = string | Url | readonly FileLike[] | ReadonlyMap<string, Uint8Array>

export interface ReadOptions {
  /** Called at least once a file; what it throws rejects the call. */
  onProgress?: ((progress: LoadProgress) => void) | undefined
  /** Its reason rejects the call. */
  signal?: Signal | undefined
  /** In place of the runtime's `fetch`. */
  fetch?: Fetch | undefined
  /** Keep what is fetched: true for the runtime's Cache API, a `Cache`, or a folder's path. Kept files are not asked for again. Default false. */
  cache?: boolean | string | CacheLike | undefined
}
