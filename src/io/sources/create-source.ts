import { describe, RoutedAttentionError } from '../../errors.js'
import { type CacheLike, createFileCache } from '../file-cache.js'
import type { LoadProgress } from '../progress.js'
import { directorySource } from './directory.js'
import { type FileLike, filesSource } from './files.js'
import { type Fetch, httpSource } from './http.js'
import { memorySource } from './memory.js'
import type { Source } from './source.js'

/**
 * The folder of a model: a path where there is a file system, an http(s) or file URL with or without a trailing slash,
 * the files a user picked, or bytes by name.
 */
export type ModelSource = string | URL | readonly FileLike[] | ReadonlyMap<string, Uint8Array>

export interface ReadOptions {
  /** Called at least once a file; what it throws rejects the call. */
  onProgress?: ((progress: LoadProgress) => void) | undefined
  /** Its reason rejects the call. */
  signal?: AbortSignal | undefined
  /** In place of the runtime's `fetch`. */
  fetch?: Fetch | undefined
  /** Keep what is fetched: true for the runtime's Cache API, a `Cache`, or a folder's path. Kept files are not asked for again. Default false. */
  cache?: boolean | string | CacheLike | undefined
}

/** @throws RoutedAttentionError `BAD_ARGUMENT`, or `UNSUPPORTED` where this runtime has no way to such a source */
export function createSource(source: ModelSource, options: ReadOptions): Source {
  const { signal } = options
  if (source instanceof Map) return memorySource(source)
  if (Array.isArray(source)) return filesSource(source, signal)
  if (typeof source === 'string' && source !== '') {
    if (!/^[a-z]{2,}:\/\//i.test(source)) return directorySource(source, signal)
    throw new RoutedAttentionError('BAD_ARGUMENT', `a string is a folder's path; for ${describe(source)} pass a URL object`)
  }
  if (source instanceof URL) {
    if (source.protocol === 'file:') return directorySource(source, signal)
    if (source.protocol === 'http:' || source.protocol === 'https:') {
      const fetch: Fetch | undefined = options.fetch ?? globalThis.fetch
      if (fetch === undefined) throw new RoutedAttentionError('UNSUPPORTED', 'this runtime has no fetch; pass one in the options')
      return httpSource(source, { fetch, signal, cache: createFileCache(options.cache, signal) })
    }
    throw new RoutedAttentionError('BAD_ARGUMENT', `a model's URL must be http:, https: or file:, got ${source.protocol}`)
  }
  throw new RoutedAttentionError(
    'BAD_ARGUMENT',
    `a model must be a folder's path, a URL, File[] or a Map of bytes, got ${describe(source)}`,
  )
}

/** @throws RoutedAttentionError `BAD_ARGUMENT`; the cache is checked when it is opened */
export function checkReadOptions(options: unknown): asserts options is ReadOptions {
  if (typeof options !== 'object' || options === null)
    throw new RoutedAttentionError('BAD_ARGUMENT', `options must be an object, got ${describe(options)}`)
  const { onProgress, fetch, signal } = options as Partial<Record<keyof ReadOptions, unknown>>
  for (const [name, value] of Object.entries({ onProgress, fetch })) {
    if (value !== undefined && typeof value !== 'function')
      throw new RoutedAttentionError('BAD_ARGUMENT', `${name} must be a function, got ${describe(value)}`)
  }
  if (signal !== undefined && typeof (signal as AbortSignal | null)?.addEventListener !== 'function') {
    throw new RoutedAttentionError('BAD_ARGUMENT', `signal must be an AbortSignal, got ${describe(signal)}`)
  }
}
