import type { CacheLike } from '../read-options.js'
import { Download } from '../sources/download.js'
import { type EntryWriter, untilAborted } from '../sources/source.js'
import { StreamFile } from '../sources/stream-file.js'
import type { Store } from './store.js'

/** Stores bytes as responses. The Cache API ensures that entries are written atomically, even with other writers. */
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
      return new StreamFile(stored)
    },
    create: async (key, size) => {
      const cache = await untilAborted(signal, openCache())
      return new ResponseWriter((response) => cache.put(key, response), size, signal)
    },
    drop: async (key) => void (await within(async (cache) => cache.delete?.(key))),
  }
}

/** Writes a response's body while a cache reads it. */
class ResponseWriter implements EntryWriter {
  private body!: ReadableStreamDefaultController<Uint8Array>
  /** Settles when the cache has read the body, or at once if it stores responses without reading them. */
  private readonly stored: Promise<void>
  private isStored = false
  /** Called when the cache has read what was written. */
  private wake: () => void = () => undefined

  constructor(
    put: (response: Response) => Promise<void>,
    size: number,
    private readonly signal: AbortSignal | undefined,
  ) {
    const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (controller) => void (this.body = controller as ReadableStreamDefaultController<Uint8Array>),
      pull: () => this.wake(),
      cancel: () => this.wake(),
    })
    // With its length, so that a truncated copy is detected.
    this.stored = put(new Response(stream, { headers: { 'content-length': String(size) } }))
    void this.stored.then(
      () => (this.isStored = true),
      () => undefined,
    )
  }

  async write(bytes: Uint8Array): Promise<void> {
    const read = new Promise<void>((resolve) => (this.wake = resolve))
    this.body.enqueue(bytes)
    if (!this.isStored && this.body.desiredSize! <= 0) await untilAborted(this.signal, Promise.race([read, this.stored]))
  }

  async commit(): Promise<void> {
    this.body.close()
    await untilAborted(this.signal, this.stored)
  }

  async abort(): Promise<void> {
    this.body.error(new Error('the file did not arrive whole'))
  }
}
