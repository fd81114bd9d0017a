import { describe, RoutedAttentionError } from '../../errors.js'
import type { CacheLike, ReadOptions } from '../read-options.js'
import { fileSystem } from '../sources/file-system.js'
import type { EntryWriter, OpenFile } from '../sources/source.js'
import { folderStore } from './folder-store.js'
import { responseStore } from './response-store.js'
import type { Store } from './store.js'

/**
 * A file's place in a cache. Failures are ignored, except for the signal's reason: the file then counts as not cached.
 */
export interface CacheEntry {
  open(): Promise<OpenFile | undefined>
  /**
   * @param size of the file in bytes
   * @param wasOptional whether its absence may have been recorded
   */
  write(size: number, options: { wasOptional: boolean }): EntryWriter
  /** Whether the file was absent when its host was last asked. */
  isKnownAbsent(): Promise<boolean>
  /** Records that the host does not have the file. */
  keepAbsence(): Promise<void>
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
    write: (size, { wasOptional }) => {
      const writer = new LenientWriter(() => store.create(keys.file, size), attempt)
      const commit = async () => {
        await writer.commit()
        if (wasOptional && (await isKnownAbsent())) await attempt(() => store.drop(keys.absence))
      }
      return { write: (bytes) => writer.write(bytes), commit, abort: () => writer.abort() }
    },
    isKnownAbsent,
    keepAbsence: async () => {
      const writer = new LenientWriter(() => store.create(keys.absence, 0), attempt)
      try {
        await writer.commit()
      } finally {
        await writer.abort()
      }
    },
  }
}

/** Runs an operation of a store; undefined if it fails. */
type Attempt = <T>(operation: () => Promise<T>) => Promise<T | undefined>

/** Writes an entry, or nothing once writing has failed. */
class LenientWriter implements EntryWriter {
  /** Undefined until the first bytes, and after a failure. */
  private writer: EntryWriter | undefined
  private isOver = false

  constructor(
    private readonly create: () => Promise<EntryWriter>,
    private readonly attempt: Attempt,
  ) {}

  write(bytes: Uint8Array): Promise<void> {
    return this.step((writer) => writer.write(bytes))
  }

  async commit(): Promise<void> {
    await this.step((writer) => writer.commit())
    if (this.isOver) return
    this.isOver = true
    this.writer = undefined
  }

  async abort(): Promise<void> {
    const { writer } = this
    this.isOver = true
    this.writer = undefined
    await writer?.abort().catch(() => undefined)
  }

  private async step(use: (writer: EntryWriter) => Promise<void>): Promise<void> {
    if (this.isOver) return
    const done = await this.attempt(async () => {
      this.writer ??= await this.create()
      await use(this.writer)
      return true
    })
    if (!done) await this.abort()
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
