import { describe, RoutedAttentionError } from '../../errors.js'
import { createFileCache } from '../cache/file-cache.js'
import { checkIntegrity } from '../integrity.js'
import type { Fetch, ModelSource, ReadOptions } from '../read-options.js'
import { directorySource } from './directory.js'
import { filesSource } from './files.js'
import { httpSource } from './http.js'
import { memorySource } from './memory.js'
import type { Source } from './source.js'

/**
 * @param digests by file name: what is kept in a cache is kept under them
 * @throws RoutedAttentionError `BAD_ARGUMENT`, or `UNSUPPORTED` where this runtime has no way to such a source
 */
export function createSource(source: ModelSource, options: ReadOptions, digests: ReadonlyMap<string, string>): Source {
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
      const versionOf = (file: string) => [options.cacheVersion ?? '', digests.get(file) ?? '']
      return httpSource(source, { fetch, signal, cache: createFileCache(options.cache, versionOf, signal) })
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
  const { onProgress, fetch, signal, cacheVersion, integrity } = options as Partial<Record<keyof ReadOptions, unknown>>
  for (const [name, value] of Object.entries({ onProgress, fetch })) {
    if (value !== undefined && typeof value !== 'function')
      throw new RoutedAttentionError('BAD_ARGUMENT', `${name} must be a function, got ${describe(value)}`)
  }
  if (signal !== undefined && typeof (signal as AbortSignal | null)?.addEventListener !== 'function') {
    throw new RoutedAttentionError('BAD_ARGUMENT', `signal must be an AbortSignal, got ${describe(signal)}`)
  }
  if (cacheVersion !== undefined && typeof cacheVersion !== 'string')
    throw new RoutedAttentionError('BAD_ARGUMENT', `cacheVersion must be a string, got ${describe(cacheVersion)}`)
  if (integrity !== undefined) checkIntegrity(integrity)
}
