import type { OpenFile } from './source.js'

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

const NOTHING = new Uint8Array(0)

/** Presents a byte stream as a file. */
export class StreamFile implements OpenFile {
  /** Arrived, but not yet taken. */
  private rest: Uint8Array = NOTHING

  constructor(private readonly stream: ByteStream) {}

  get size(): number | undefined {
    return this.stream.size
  }

  get sizeHint(): number | undefined {
    return this.stream.sizeHint
  }

  /** At least the next `length` bytes, without taking them; fewer only at the end of the file. */
  async peek(length: number): Promise<Uint8Array> {
    while (this.rest.length < length) {
      const chunk = await this.arrive()
      if (chunk === undefined) break
      const longer = new Uint8Array(this.rest.length + chunk.length)
      longer.set(this.rest)
      longer.set(chunk, this.rest.length)
      this.rest = longer
    }
    return this.rest
  }

  async next(most: number): Promise<Uint8Array | undefined> {
    while (this.rest.length === 0) {
      const chunk = await this.arrive()
      if (chunk === undefined) return undefined
      this.rest = chunk
    }
    const piece = this.rest.subarray(0, most)
    this.rest = this.rest.subarray(piece.length)
    return piece
  }

  async close(): Promise<void> {
    this.rest = NOTHING
    this.stream.cancel()
  }

  private async arrive(): Promise<Uint8Array | undefined> {
    try {
      return await this.stream.next()
    } catch (error) {
      this.rest = NOTHING // after any error it is of no further use
      throw error
    }
  }
}
