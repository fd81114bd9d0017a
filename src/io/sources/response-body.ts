/** A response, and how to end it. */
export interface Answer {
  readonly response: Response
  /** Whether all headers are shown, and the length is right: by what this package made itself. */
  readonly isPlain?: boolean
  /** Ends a transfer that is still under way. */
  cancel(): void
}

/** The body of a response, chunk by chunk. */
export class ResponseBody {
  private reader: ReadableStreamDefaultReader<unknown> | undefined
  private isRead = false

  constructor(private readonly answer: Answer) {}

  /** The next chunk; undefined at the end. A response made without a stream gives its bytes at once. */
  async next(): Promise<unknown> {
    const { response } = this.answer
    if (response.body) {
      this.reader ??= response.body.getReader()
      return (await this.reader.read()).value
    }
    if (this.isRead) return undefined
    this.isRead = true
    return new Uint8Array(await response.arrayBuffer())
  }

  /** Ends the transfer, and lets go of what has arrived. */
  cancel(): void {
    this.answer.cancel()
    this.reader?.cancel().catch(() => undefined)
    this.reader?.releaseLock()
  }
}
