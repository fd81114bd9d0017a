import { describe, RoutedAttentionError } from '../../errors.js'
import { isMap, isUrl } from '../../realm.js'
import { createFileCache } from '../cache/file-cache.js'
import type { Fetch, ModelSource, ReadOptions } from '../read-options.js'
import { directorySource } from './directory.js'
import { filesSource } from './files.js'
import { httpSource } from './http.js'
import { memorySource } from './memory.js'
import type { Source } from './source.js'

/**
 * @param digests by file name: part of the cache key
 * @throws RoutedAttentionError `BAD_ARGUMENT`, or `UNSUPPORTED` if this runtime cannot read such a source
 */
export function createSource(source: ModelSource, options: ReadOptions, digests: ReadonlyMap<string, string>): Source {
  const { signal } = options
  if (isMap(source)) return memorySource(source)
  if (Array.isArray(source)) return filesSource(source, signal)
  if (typeof source === 'string' && source !== '') {
    if (!/^[a-z]{2,}:\/\//i.test(source)) return directorySource(source, signal)
    throw new RoutedAttentionError(
      'BAD_ARGUMENT',
      `a string is taken as a folder path; for ${describe(withoutSecrets(source))} pass a URL object`,
    )
  }
  if (isUrl(source)) {
    const url = ownUrl(source)
    if (url.protocol === 'file:') return directorySource(url, signal)
    if (url.protocol === 'http:' || url.protocol === 'https:') {
      const fetch: Fetch | undefined = options.fetch ?? globalThis.fetch
      if (fetch === undefined) throw new RoutedAttentionError('UNSUPPORTED', 'this runtime has no fetch; pass one in the options')
      const versionOf = (file: string) => [options.cacheVersion ?? '', digests.get(file) ?? '']
      return httpSource(url, { fetch, signal, cache: createFileCache(options.cache, versionOf, signal) })
    }
    throw new RoutedAttentionError('BAD_ARGUMENT', `a model's URL must be http:, https: or file:, got ${url.protocol}`)
  }
  throw new RoutedAttentionError(
    'BAD_ARGUMENT',
    `a model must be a folder's path, a URL, File[] or a Map of bytes, got ${describe(source)}`,
  )
}

/** The same URL as an object of this realm. */
function ownUrl({ href }: { readonly href: string }): URL {
  try {
    return new URL(href)
  } catch (cause) {
    throw new RoutedAttentionError('BAD_ARGUMENT', `${describe(withoutSecrets(href))} is not a URL`, { cause })
  }
}

/** A URL's text up to its query, without user name and password. */
function withoutSecrets(url: string): string {
  return url.replace(/^([^:]+:\/\/)[^/?#]*@/, '$1').replace(/[?#].*$/s, '')
}
