import { describe, RoutedAttentionError } from '../errors.js'
import type { CacheLike } from './read-options.js'
import { openPath } from './sources/directory.js'
import { fileSystem } from './sources/file-system.js'
import { responseFile } from './sources/response-file.js'
import { isMissing, type OpenFile } from './sources/source.js'

/** Keeps fetched files. Whatever fails in it counts as not cached, and is not told. */
export interface FileCache {
  open(url: string, what: string): Promise<OpenFile | undefined>
  keep(url: string, parts: readonly Uint8Array[]): Promise<void>
}

/**
 * @param option true: a cache of the Cache API, named 'routed-attention', where the runtime has one; a `Cache`; a folder's path;
 *   false or absent: none
 * @throws RoutedAttentionError `BAD_ARGUMENT` for anything else
 */
export function createFileCache(option: unknown, signal?: AbortSignal): FileCache | undefined {
  if (option === undefined || option === false) return undefined
  if (option === true) {
    const { caches } = globalThis as { caches?: { open(name: string): Promise<CacheLike> } }
    return caches && responseCache(() => caches.open('routed-attention'), signal)
  }
  if (typeof option === 'string' && option !== '') return fileSystem() && folderCache(option, signal)
  if (isCacheLike(option)) return responseCache(async () => option, signal)
  throw new RoutedAttentionError('BAD_ARGUMENT', `cache must be true, false, a Cache or a folder's path, got ${describe(option)}`)
}

function responseCache(open: () => Promise<CacheLike>, signal: AbortSignal | undefined): FileCache {
  return {
    open: (url, what) =>
      orUndefined(async () => {
        const response = await (await open()).match(url)
        return response && responseFile(response, what, { signal, isCached: true })
      }),
    keep: async (url, parts) => {
      await orUndefined(async () => {
        const body = new Blob(parts as Uint8Array<ArrayBuffer>[])
        // With its length, so that a shortened copy is noticed.
        await (await open()).put(url, new Response(body, { headers: { 'content-length': String(body.size) } }))
      })
    },
  }
}

function folderCache(folder: string, signal: AbortSignal | undefined): FileCache {
  const { files, crypto } = fileSystem()!
  const pathOf = (url: string) => `${folder}/${crypto.createHash('sha256').update(url).digest('hex')}`
  return {
    open: (url) =>
      orUndefined(async () => {
        const file = await openPath(pathOf(url), signal)
        return isMissing(file) ? undefined : Object.assign(file, { isCached: true })
      }),
    keep: async (url, parts) => {
      await orUndefined(async () => {
        await files.mkdir(folder, { recursive: true })
        const temporary = `${pathOf(url)}.${crypto.randomUUID()}`
        try {
          await files.writeFile(temporary, parts)
          await files.rename(temporary, pathOf(url)) // whole or not at all
        } catch (error) {
          await files.rm(temporary, { force: true })
          throw error
        }
      })
    },
  }
}

async function orUndefined<T>(operation: () => Promise<T | undefined>): Promise<T | undefined> {
  try {
    return await operation()
  } catch {
    return undefined
  }
}

function isCacheLike(value: unknown): value is CacheLike {
  if (typeof value !== 'object' || value === null) return false
  const { match, put } = value as Partial<Record<keyof CacheLike, unknown>>
  return typeof match === 'function' && typeof put === 'function'
}
