import type { FetchResponse, Signal, Url } from '../platform.js'

/** Progress of a load. */
export interface LoadProgress {
  /** Identifies the kind of progress event. */
  readonly type: 'load'
  /**
   * Bytes read so far. Decreases only if a file must be read again from its start, because it changed, a cached copy was
   * damaged, or it holds float16 values that are infinite or NaN.
   */
  readonly done: number
  /**
   * Total bytes of the files known so far. May grow, never shrinks, and equals `done` in the end. The length of a
   * compressed body is unknown until its end, except for weights, whose header gives it.
   */
  readonly total: number
}

/** The members of a browser's `File` that are used. */
export interface FileLike {
  /** File name without a folder, such as `config.json`. */
  readonly name: string
  /** Size in bytes. */
  readonly size: number
  /** Returns the whole file. */
  arrayBuffer(): Promise<ArrayBuffer>
  /** Optional; without it, the file is read whole. */
  slice?(start: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> }
}

/** The members of a `Cache` (Cache API) that are used. */
export interface CacheLike {
  /** Returns the entry for a URL, if any. */
  match(url: string): Promise<FetchResponse | undefined>
  /** Stores a response, replacing any earlier one. */
  put(url: string, response: FetchResponse): Promise<void>
  /** Optional; without it, a damaged entry stays until it is overwritten. */
  delete?(url: string): Promise<boolean>
}

/**
 * `fetch` or a replacement for it, such as one that adds headers or reads from elsewhere. It is given headers (such as
 * `range`) that request the rest of a file after a broken transfer; if it does not forward them, such a file is read
 * again from its start.
 */
export type Fetch = (url: string, init: { signal: Signal; headers?: Readonly<Record<string, string>> }) => Promise<FetchResponse>

/**
 * The model's folder: a path (where there is a file system), an http(s) or file URL with or without a trailing slash,
 * the files a user picked, or a Map from file name to bytes.
 */
export type ModelSource = string | Url | readonly FileLike[] | ReadonlyMap<string, Uint8Array>

/**
 * How a model's files are read. Over http(s), a broken transfer resumes where it stopped if the server supports ranges
 * and sends a strong ETag or a Last-Modified date; otherwise, or if the file has changed, it starts over. After six
 * consecutive failures without new data within 8 seconds, the call is rejected. The duration of a transfer is not
 * limited.
 */
export interface ReadOptions {
  /** Called at least once per file; anything it throws rejects the call. */
  onProgress?: ((progress: LoadProgress) => void) | undefined
  /** Aborting it rejects the call with its reason, and releases its connections, files and memory. */
  signal?: Signal | undefined
  /** Used instead of the runtime's `fetch`. */
  fetch?: Fetch | undefined
  /**
   * Cache downloaded files: true for the runtime's Cache API (browsers, Deno, edge workers; elsewhere nothing is
   * cached), a `Cache`, or a folder path (Node, Deno, Bun). Cached files are not requested again unless they turn out
   * to be damaged. A full or forbidden cache is ignored. Tabs and processes may share one. Default false.
   */
  cache?: boolean | string | CacheLike | undefined
  /**
   * Part of the cache key, along with URL and digest: change it when the files behind a URL have changed. Default ''.
   */
  cacheVersion?: string | undefined
  /**
   * SHA-256 digests by file name: 'sha256-' followed by base64, or 64 hexadecimal digits. A file with another digest
   * rejects the call with `BAD_FILE`, as does a name that is not a file of the model. Files without an entry are not
   * checked. Default {}.
   */
  integrity?: Readonly<Record<string, string>> | undefined
}
