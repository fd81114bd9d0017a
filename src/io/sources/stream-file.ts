import { allocateBytes, type OpenFile, type Received } from './source.js'

/** A file's bytes as they arrive. */
export interface ByteStream {
  /** See `OpenFile`. */
  readonly size: number | undefined
  readonly sizeHint: number | undefined
  /**
   * The next chunk; undefined at the end.
   * @throws FileRestarted if the next chunk is the first of the file again
   */
  next(): Promise<Uint8Array | undefined>
  /** Ends the transfer. Idempotent. */
  cancel(): void
}

/** Initial capacity of the buffer if the file's length is unknown. */
const FIRST_CAPACITY = 2 ** 16

const NOTHING = new Uint8Array(0)

/** Presents a byte stream as a file. */
export class StreamFile implements OpenFile {
  /** Arrived, but not yet taken. */
  private rest: Uint8Array = NOTHING

  constructor(
    private readonly stream: ByteStream,
    private readonly what: string,
  ) {}

  get size(): number | undefined {
    return this.stream.size
  }

  get sizeHint(): number | undefined {
    return this.stream.sizeHint
  }

  /** At least the next `length` bytes, without taking them; fewer only at the end of the file. */
  async peek(length: number): Promise<Uint8Array> {
    while (this.rest.length < length) {
      const chunk = await this.next()
      if (chunk === undefined) break
      const longer = new Uint8Array(this.rest.length + chunk.length)
      longer.set(this.rest)
      longer.set(chunk, this.rest.length)
      this.rest = longer
    }
    return this.rest
  }

  async take(length: number, received: Received): Promise<Uint8Array> {
    let target = allocateBytes(Math.min(length, this.size ?? FIRST_CAPACITY), this.what)
    let filled = 0
    while (filled < length) {
      const chunk = this.rest.length > 0 ? this.rest : await this.next()
      if (chunk === undefined) break
      const part = chunk.subarray(0, length - filled)
      if (filled + part.length > target.length) {
        const grown = allocateBytes(Math.min(length, Math.max(2 * target.length, filled + part.length)), this.what)
        grown.set(target.subarray(0, filled))
        target = grown
      }
      target.set(part, filled)
      filled += part.length
      this.rest = chunk.subarray(part.length)
      received(part)
    }
    return target.subarray(0, filled)
  }

  async close(): Promise<void> {
    this.rest = NOTHING
    this.stream.cancel()
  }

  private async next(): Promise<Uint8Array | undefined> {
    try {
      return await this.stream.next()
    } catch (error) {
      this.rest = NOTHING // after any error it is of no further use
      throw error
    }
  }
}
