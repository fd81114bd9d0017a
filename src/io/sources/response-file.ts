import { describe, RoutedAttentionError } from '../../errors.js'
import { allocateBytes, type OpenFile, type Received, untilAborted } from './source.js'

interface ResponseFileOptions {
  signal: AbortSignal | undefined
  isCached?: boolean
  keep?: (parts: readonly Uint8Array[]) => Promise<void>
  /** Ends a transfer that is still under way. */
  cancel?: () => void
}

/** Grown into where a response does not say how long it is. */
const FIRST_CAPACITY = 2 ** 16

/** The body of a response as a file; its length must be what Content-Length says, where that can be relied on. */
export function responseFile(response: Response, what: string, options: ResponseFileOptions): ResponseFile {
  const announced = Number(response.headers.get('content-length') ?? NaN)
  const sizeHint = Number.isSafeInteger(announced) && announced >= 0 ? announced : undefined
  const encoding = response.headers.get('content-encoding') ?? 'identity'
  // Content-Length counts encoded bytes, and a page cannot see the encoding of another origin's response.
  const isReliable = encoding === 'identity' && response.type !== 'cors'
  return new ResponseFile(bodyReader(response), what, sizeHint, isReliable ? sizeHint : undefined, options)
}

export class ResponseFile implements OpenFile {
  readonly isCached: boolean
  readonly keep?: (parts: readonly Uint8Array[]) => Promise<void>
  private rest = new Uint8Array(0)
  private total = 0
  private isDone = false

  constructor(
    private readonly body: BodyReader,
    private readonly what: string,
    readonly sizeHint: number | undefined,
    readonly size: number | undefined,
    private readonly options: ResponseFileOptions,
  ) {
    this.isCached = options.isCached ?? false
    if (options.keep !== undefined) this.keep = options.keep
  }

  async take(length: number, received: Received): Promise<Uint8Array> {
    let target = allocateBytes(Math.min(length, this.size ?? FIRST_CAPACITY), this.what)
    let filled = 0
    while (filled < length && (await this.fill())) {
      const part = this.rest.subarray(0, length - filled)
      if (filled + part.length > target.length) {
        const grown = allocateBytes(Math.min(length, Math.max(2 * target.length, filled + part.length)), this.what)
        grown.set(target.subarray(0, filled))
        target = grown
      }
      target.set(part, filled)
      filled += part.length
      this.rest = this.rest.subarray(part.length)
      received(part.length)
    }
    return target.subarray(0, filled)
  }

  /** Whether a web page came in place of the file, as servers of single-page applications answer for what they lack. */
  async isPage(): Promise<boolean> {
    await this.fill()
    return /^\s*<(!doctype|!--|html|head|body)/i.test(String.fromCharCode(...this.rest.subarray(0, 64)))
  }

  async close(): Promise<void> {
    if (this.isDone) return
    this.isDone = true
    this.body.cancel()
    this.options.cancel?.()
  }

  /** Waits for bytes; false at the end. */
  private async fill(): Promise<boolean> {
    while (this.rest.length === 0 && !this.isDone) {
      const chunk = await this.next()
      if (chunk === undefined) this.isDone = true
      else this.rest = chunk
      this.total += chunk?.length ?? 0
      if (this.size !== undefined && (this.isDone ? this.total < this.size : this.total > this.size)) {
        throw this.bad(`${this.isDone ? 'only' : 'at least'} ${this.total} bytes came, and Content-Length said ${this.size}`)
      }
    }
    return this.rest.length > 0
  }

  private async next(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { signal } = this.options
    let chunk: unknown
    try {
      chunk = await untilAborted(signal, this.body.next())
    } catch (cause) {
      if (signal?.aborted) throw signal.reason
      throw this.bad(`the transfer broke after ${this.total} bytes: ${cause instanceof Error ? cause.message : String(cause)}`, cause)
    }
    if (chunk === undefined || chunk instanceof Uint8Array) return chunk as Uint8Array<ArrayBuffer> | undefined
    throw this.bad(`its body must come as bytes, got ${describe(chunk)}`)
  }

  private bad(why: string, cause?: unknown): RoutedAttentionError {
    return new RoutedAttentionError('BAD_FILE', `${this.what} did not arrive whole: ${why}`, { cause })
  }
}

interface BodyReader {
  /** The next chunk; undefined at the end. */
  next(): Promise<unknown>
  cancel(): void
}

/** A response made without a stream gives its bytes at once. */
function bodyReader(response: Response): BodyReader {
  let reader: ReadableStreamDefaultReader<unknown> | undefined
  let isRead = false
  return {
    next: async () => {
      if (response.body) {
        reader ??= response.body.getReader()
        return (await reader.read()).value
      }
      if (isRead) return undefined
      isRead = true
      return new Uint8Array(await response.arrayBuffer())
    },
    cancel: () => void reader?.cancel().catch(() => undefined),
  }
}
