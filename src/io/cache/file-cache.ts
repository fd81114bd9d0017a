import { describe, RoutedAttentionError } from '../../errors.js'
import type { CacheLike, ReadOptions } from '../read-options.js'
import { fileSystem } from '../sources/file-system.js'
import type { OpenFile } from '../sources/source.js'
import { folderStore } from './folder-store.js'
import { responseStore } from './response-store.js'
import type { Store } from './store.js'

/**
 * A file's place in a cache. Failures are ignored, except for the signal's reason: the file then counts as not cached.
 */
export interface CacheEntry {
  open(): Promise<OpenFile | undefined>
  keep(parts: readonly Uint8Array[]): Promise<void>
  /** Whether the file was absent when its host was last asked. */
  isKnownAbsent(): Promise<boolean>
  /** Records that the host does not have the file. */
  keepAbsence(): Promise<void>
  /** Records that the host has the file. */
  forgetAbsence(): Promise<void>
}

export interface FileCache {
  entry(url: URL, file: string): CacheEntry
}

type CacheOption = ReadOptions['cache']

/** Version of the entries' layout; increasing it keeps other versions' entries from being read. */
const LAYOUT = '1'

/**
 * @param option true: a cache of the Cache API, named 'routed-attention', if the runtime has one; a `Cache`; a folder
 * path; false or absent: none
 * @param versionOf distinguishes versions of a file: part of its key
 */
export function createFileCache(
  option: CacheOption,
  versionOf: (file: string) => readonly string[],
  signal: AbortSignal | undefined,
): FileCache | undefined {
  const store = createStore(option, signal)
  return (
    store && {
      entry: (url, file) => {
        const version = versionOf(file)
        return createEntry(store, { file: keyOf(url, version), absence: keyOf(url, [...version, 'absent']) }, url.pathname, signal)
      },
    }
  )
}

function createStore(option: CacheOption, signal: AbortSignal | undefined): Store | undefined {
  if (option === undefined || option === false) return undefined
  // Looked up when opened: a sandboxed page may not even ask whether there is one.
  if (option === true) return responseStore(() => (globalThis as { caches?: CacheStorageLike }).caches!.open('routed-attention'), signal)
  if (typeof option === 'string') return fileSystem() && folderStore(option, signal)
  return responseStore(async () => option, signal)
}

/** @throws RoutedAttentionError `BAD_ARGUMENT` for anything that `createFileCache` does not accept */
export function checkCacheOption(option: unknown): asserts option is CacheOption {
  if (option === undefined || typeof option === 'boolean' || (typeof option === 'string' && option !== '') || isCacheLike(option)) return
  throw new RoutedAttentionError('BAD_ARGUMENT', `cache must be true, false, a Cache or a folder's path, got ${describe(option)}`)
}

/** A URL, since the Cache API accepts nothing else; it considers the query and drops the fragment. */
function keyOf(url: URL, version: readonly string[]): string {
  const key = new URL(url)
  key.searchParams.set('routed-attention-cache', [LAYOUT, ...version].join(' '))
  return key.href
}

/** @param keys of the file, and of an empty entry that records its absence */
function createEntry(store: Store, keys: { file: string; absence: string }, what: string, signal: AbortSignal | undefined): CacheEntry {
  const attempt = async <T>(operation: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await operation()
    } catch {
      if (signal?.aborted) throw signal.reason
      return undefined
    }
  }
  const isKnownAbsent = async () => {
    const entry = await attempt(() => store.open(keys.absence, what))
    await entry?.close()
    return entry !== undefined
  }
  return {
    open: () =>
      attempt(async () => {
        const file = await store.open(keys.file, what)
        return file && Object.assign(file, { drop: () => attempt(() => store.drop(keys.file)) })
      }),
    keep: (parts) => attempt(() => store.keep(keys.file, parts)),
    isKnownAbsent,
    keepAbsence: () => attempt(() => store.keep(keys.absence, [])),
    forgetAbsence: async () => {
      if (await isKnownAbsent()) await attempt(() => store.drop(keys.absence))
    },
  }
}

interface CacheStorageLike {
  open(name: string): Promise<CacheLike>
}

function isCacheLike(value: unknown): value is CacheLike {
  if (typeof value !== 'object' || value === null) return false
  const { match, put, delete: remove } = value as Partial<Record<keyof CacheLike, unknown>>
  return typeof match === 'function' && typeof put === 'function' && (remove === undefined || typeof remove === 'function')
}
