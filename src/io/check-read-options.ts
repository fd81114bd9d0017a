import { describe, RoutedAttentionError } from '../errors.js'
import { checkFunction, checkOptions, namesOf } from '../options.js'
import { checkCacheOption } from './cache/file-cache.js'
import { checkIntegrity } from './integrity.js'
import type { ReadOptions } from './read-options.js'

const READ_OPTIONS = namesOf<ReadOptions>({
  onProgress: true,
  signal: true,
  fetch: true,
  cache: true,
  cacheVersion: true,
  integrity: true,
})

/**
 * Checks the options of a call that reads a model, once, where they enter: what reads files relies on it.
 * @param call name of the call, for messages
 * @param others names of the call's other options; their values are not checked
 * @throws RoutedAttentionError `BAD_ARGUMENT`
 */
export function checkReadOptions(call: string, options: unknown, others: readonly string[] = []): asserts options is ReadOptions {
  checkOptions(call, options, [...READ_OPTIONS, ...others])
  const { fetch, cache, cacheVersion, integrity } = options as Partial<Record<keyof ReadOptions, unknown>>
  checkFunction(call, 'fetch', fetch)
  checkCacheOption(cache)
  if (cacheVersion !== undefined && typeof cacheVersion !== 'string')
    throw new RoutedAttentionError('BAD_ARGUMENT', `cacheVersion must be a string, got ${describe(cacheVersion)}`)
  if (integrity !== undefined) checkIntegrity(integrity)
}
