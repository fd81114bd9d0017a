/** A response, and how to cancel it. */
export interface HostResponse {
  readonly response: Response
  /** Whether all headers are visible and the length is right: true for responses made by this package. */
  readonly isPlain?: boolean
  /** Ends a transfer in progress. */
  cancel(): void
}

/** The body of a response, chunk by chunk. */
export class ResponseBody {
  private reader: ReadableStreamDefaultReader<unknown> | undefined
  private isRead = false

  constructor(private readonly hostResponse: HostResponse) {}

  /** The next chunk; undefined at the end. A response without a stream gives all of its bytes at once. */
  async next(): Promise<unknown> {
    const { response } = this.hostResponse
    if (response.body) {
      this.reader ??= response.body.getReader()
      return (await this.reader.read()).value
    }
    if (this.isRead) return undefined
    this.isRead = true
    return new Uint8Array(await response.arrayBuffer())
  }

  /** Ends the transfer and releases what has arrived. */
  cancel(): void {
    this.hostResponse.cancel()
    this.reader?.cancel().catch(() => undefined)
    this.reader?.releaseLock()
  }
}
