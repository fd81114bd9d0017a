import { describe, reasonOf, RoutedAttentionError } from '../../errors.js'
import { isUint8Array } from '../../realm.js'
import { BrokenTransfer } from './broken-transfer.js'
import { delay } from './delay.js'
import { contentRangeOf, isEncoded, type Representation, representationOf, UNKNOWN } from './representation.js'
import { type HostResponse, ResponseBody } from './response-body.js'
import { FileRestarted, isMissing, type MissingFile, untilAborted } from './source.js'
import { RETRY_DELAYS } from './retry.js'
import type { ByteStream } from './stream-file.js'

/**
 * Requests the file with these headers. The response is the whole file or, with `range`, possibly a part of it or
 * status 416.
 * @throws BrokenTransfer if requesting again is worthwhile
 */
export type RequestFile = (headers: Readonly<Record<string, string>>) => Promise<HostResponse | MissingFile>

/**
 * A file downloaded over an unreliable network: after a failure the rest is requested or, if the server does not
 * support that, the whole file.
 */
export class Download implements ByteStream {
  private representation: Representation = UNKNOWN
  private body: ResponseBody | undefined
  private isWhole = false
  private position = 0
  /** Failures since it last made progress. */
  private failures = 0
  private furthest = 0

  constructor(
    private readonly what: string,
    private readonly request: RequestFile,
    private readonly signal: AbortSignal | undefined,
    /** Reset on progress, so that a file of any length arrives over a connection of any quality. */
    private readonly delays: readonly number[] = RETRY_DELAYS,
  ) {}

  get size(): number | undefined {
    return this.representation.size
  }

  get sizeHint(): number | undefined {
    return this.representation.sizeHint
  }

  /** Waits for the first response. */
  begin(): Promise<MissingFile | undefined> {
    return this.retrying(() => this.connect())
  }

  /**
   * Waits for the first response, without retries.
   * @throws BrokenTransfer
   */
  async probe(): Promise<MissingFile | undefined> {
    try {
      return await this.connect()
    } catch (error) {
      this.cancel()
      throw error
    }
  }

  next(): Promise<Uint8Array | undefined> {
    return this.retrying(async () => {
      if (this.body === undefined && !this.isWhole) {
        const gone = await this.connect()
        if (gone)
          throw this.bad(`its transfer broke after ${this.position} bytes, and then the file was gone (${gone.missing})`, gone.status)
      }
      if (this.isWhole) return undefined
      const chunk = await this.chunk()
      this.position += chunk?.length ?? 0
      const { size, sizeHint, least, isVeiled } = this.representation
      if (size !== undefined && this.position > size)
        throw this.bad(`at least ${this.position} bytes came, and Content-Length said ${size}`)
      // More than announced: it is compressed, and the headers count the compressed bytes.
      if (sizeHint !== undefined && this.position > sizeHint) this.representation = { ...UNKNOWN, isVeiled }
      if (chunk !== undefined) return chunk
      if (least !== undefined && this.position < least)
        throw this.broken(`only ${this.position} bytes came, and Content-Length said ${least}`)
      this.isWhole = true
      this.cancel()
      return undefined
    })
  }

  cancel(): void {
    this.body?.cancel()
    this.body = undefined
  }

  private async retrying<T>(step: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await step()
      } catch (error) {
        if (error instanceof FileRestarted) throw error
        this.cancel()
        if (!(error instanceof BrokenTransfer)) throw error
        await this.pauseAfter(error)
      }
    }
  }

  private async pauseAfter(broken: BrokenTransfer): Promise<void> {
    if (this.position > this.furthest) {
      this.furthest = this.position
      this.failures = 0
    }
    const milliseconds = this.delays[this.failures++]
    if (milliseconds === undefined) throw broken.after(this.failures)
    await delay(milliseconds, this.signal)
  }

  private async connect(): Promise<MissingFile | undefined> {
    const { validator, isVeiled } = this.representation
    // `If-Range` needs another origin's permission, and a refusal looks like a network failure, so the last attempt
    // omits it.
    const isAllowed = !isVeiled || this.failures < this.delays.length
    const isPart = this.position > 0 && validator !== undefined && isAllowed
    // Browsers request ranges uncompressed by themselves and drop the last header; not every other runtime does.
    const part = isPart && { range: `bytes=${this.position}-`, 'if-range': validator, 'accept-encoding': 'identity' }
    const hostResponse = await this.request(part || {})
    if (isMissing(hostResponse)) return hostResponse
    this.body = new ResponseBody(hostResponse)
    const { response } = hostResponse
    if (isPart && response.status === 416) this.finish(response)
    else if (isPart && response.status === 206) this.continue(response)
    else this.start(hostResponse)
    return undefined
  }

  /** @throws FileRestarted unless nothing had arrived before */
  private start(hostResponse: HostResponse): void {
    if (hostResponse.response.status === 206) throw this.bad('only a part of it was sent (status 206), although all of it was requested')
    this.representation = representationOf(hostResponse)
    if (this.position === 0) return
    this.position = 0
    throw new FileRestarted(`${this.what} begins again`)
  }

  /**
   * @throws BrokenTransfer if it has to start over; RoutedAttentionError `BAD_FILE` if the part is not the one
   * requested
   */
  private continue(response: Response): void {
    const { validator, sizeHint, isVeiled } = this.representation
    const range = contentRangeOf(response)
    const state = response.headers.get(validator!.startsWith('"') ? 'etag' : 'last-modified')
    // A page does not see the encoding of another origin's file, but an encoded file has another length.
    const isProven = !isVeiled || (range?.total !== undefined && range.total === sizeHint)
    const isChanged = state !== null && state !== validator
    if (isEncoded(response) || isChanged || !isProven) throw this.unresumable(isChanged ? 'it has changed' : 'no part of it can be reused')
    const expected = `bytes ${this.position}-…/${sizeHint ?? '…'}`
    if (range?.first !== this.position || (range.total !== undefined && sizeHint !== undefined && range.total !== sizeHint)) {
      const got = describe(response.headers.get('content-range'))
      throw this.bad(`the rest of it should have come with Content-Range ${expected}, but came with ${got}`)
    }
    if (range.total !== undefined)
      this.representation = { ...this.representation, size: range.total, sizeHint: range.total, least: range.total }
  }

  /** Handles a response saying that there is nothing beyond what has arrived. */
  private finish(response: Response): void {
    if (contentRangeOf(response)?.total !== this.position) throw this.unresumable('the server refused to send the rest')
    const { least = this.position } = this.representation
    if (least === this.position) this.isWhole = true
    else throw this.broken(`only ${this.position} bytes came, and Content-Length said ${least}`)
    this.cancel()
  }

  private async chunk(): Promise<Uint8Array | undefined> {
    let chunk: unknown
    try {
      chunk = await untilAborted(this.signal, this.body!.next())
    } catch (cause) {
      if (this.signal?.aborted) throw this.signal.reason
      if (this.position === this.representation.least) return undefined
      throw this.broken(`the transfer broke after ${this.position} bytes: ${reasonOf(cause)}`, cause)
    }
    if (chunk === undefined || isUint8Array(chunk)) return chunk
    throw this.bad(`its body must come as bytes, got ${describe(chunk)}`)
  }

  private unresumable(why: string): BrokenTransfer {
    this.representation = { ...this.representation, validator: undefined }
    return this.broken(`its transfer broke after ${this.position} bytes, and could not be resumed: ${why}`)
  }

  private broken(why: string, cause?: unknown): BrokenTransfer {
    return new BrokenTransfer(`${this.what} did not arrive whole: ${why}`, { cause })
  }

  private bad(why: string, status?: number): RoutedAttentionError {
    return new RoutedAttentionError('BAD_FILE', `${this.what} did not arrive whole: ${why}`, { status })
  }
}
