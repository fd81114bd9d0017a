import type { CacheLike } from '../read-options.js'
import { Download } from '../sources/download.js'
import { untilAborted } from '../sources/source.js'
import { StreamFile } from '../sources/stream-file.js'
import type { Store } from './store.js'

/** Stores bytes as responses. The Cache API ensures that entries are written atomically, whoever else writes them. */
export function responseStore(openCache: () => Promise<CacheLike>, signal: AbortSignal | undefined): Store {
  const within = <T>(operation: (cache: CacheLike) => Promise<T>): Promise<T> =>
    untilAborted(signal, (async () => operation(await openCache()))())
  return {
    open: async (key, what) => {
      const response = await within((cache) => cache.match(key))
      if (response === undefined) return undefined
      // Nothing can be requested again here: a broken entry counts as none.
      const stored = new Download(what, async () => ({ response, isPlain: true, cancel: () => {} }), signal, [])
      await stored.begin()
      return new StreamFile(stored, what)
    },
    keep: (key, parts) =>
      within((cache) => {
        const body = new Blob(parts as Uint8Array<ArrayBuffer>[])
        // With its length, so that a truncated copy is detected.
        return cache.put(key, new Response(body, { headers: { 'content-length': String(body.size) } }))
      }),
    drop: async (key) => void (await within(async (cache) => cache.delete?.(key))),
  }
}
