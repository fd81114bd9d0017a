import type { FetchResponse, Signal, Url } from '../platform.js'

/** The names of `ReadOptions`. */
export const READ_OPTIONS: readonly (keyof ReadOptions)[] = ['onProgress', 'signal', 'fetch', 'cache', 'cacheVersion', 'integrity']

/** How far a long call has come. */
export interface LoadProgress {
  /** Of which call it is. */
  readonly type: 'load'
  /**
   * Bytes so far. It falls only where a file has to be read again from its start: it changed on the way, or a kept copy
   * was damaged.
   */
  readonly done: number
  /**
   * Bytes in all, of the files known so far: it may grow, never falls, and equals `done` in the end. The length of a
   * compressed body is not known before its end and counts as it comes, but for weights, whose header tells.
   */
  readonly total: number
}

/** What is asked of a browser's File. */
export interface FileLike {
  /** Without a folder: `config.json`, say. */
  readonly name: string
  /** In bytes. */
  readonly size: number
  /** All bytes. */
  arrayBuffer(): Promise<ArrayBuffer>
  /** Where it is missing, the file is read whole. */
  slice?(start: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> }
}

/** What is asked of a `Cache` of the Cache API. */
export interface CacheLike {
  /** What is kept under a URL, if anything. */
  match(url: string): Promise<FetchResponse | undefined>
  /** Keeps a response in place of what was there. */
  put(url: string, response: FetchResponse): Promise<void>
  /** Where it is missing, a damaged entry stays until it is overwritten. */
  delete?(url: string): Promise<boolean>
}

/**
 * `fetch`, or a function in its place: for headers of one's own, or another way to the bytes. The headers it is given
 * (`range` and its like) ask for the rest of a file whose transfer broke; where they are not sent on, such a file is
 * read again from its start.
 */
export type Fetch = (url: string, init: { signal: Signal; headers?: Readonly<Record<string, string>> }) => Promise<FetchResponse>

/**
 * The folder of a model: a path where there is a file system, an http(s) or file URL with or without a trailing slash,
 * the files a user picked, or bytes by name.
 */
export type ModelSource = string | Url | readonly FileLike[] | ReadonlyMap<string, Uint8Array>

/**
 * How a model's files are read. Over http(s), a transfer that breaks is resumed where it broke, if the server has a
 * strong ETag or a Last-Modified and knows ranges, and otherwise begun again; also when the file has changed meanwhile.
 * After six failures in a row that brought nothing new, within 8 seconds, the call is rejected. There is no limit on
 * how long a transfer takes.
 */
export interface ReadOptions {
  /** Called at least once a file; what it throws rejects the call. */
  onProgress?: ((progress: LoadProgress) => void) | undefined
  /** Its reason rejects the call, which lets go of all that it held: connections, files, memory. */
  signal?: Signal | undefined
  /** In place of the runtime's `fetch`. */
  fetch?: Fetch | undefined
  /**
   * Keep what is fetched: true for the runtime's Cache API (browsers, Deno, edge workers; elsewhere nothing is kept), a
   * `Cache`, or a folder's path (Node, Deno, Bun). Kept files are not asked for again, unless they prove damaged. A
   * full or forbidden cache is as if there were none. Tabs and processes may share one. Default false.
   */
  cache?: boolean | string | CacheLike | undefined
  /**
   * Part of what files are kept under, beside their URL and digest: give another one when the files behind a URL have
   * changed. Default ''.
   */
  cacheVersion?: string | undefined
  /**
   * SHA-256 digests by file name, 'sha256-' and base64 or 64 hexadecimal digits. A file with another digest rejects the
   * call as `BAD_FILE`, and so does a name that is no file of the model. Files that are not named are not checked.
   * Default {}.
   */
  integrity?: Readonly<Record<string, string>> | undefined
}
