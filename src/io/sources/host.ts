import { describe, reasonOf, RoutedAttentionError } from '../../errors.js'
import { isError } from '../../realm.js'
import type { Fetch } from '../read-options.js'
import { BrokenTransfer } from './broken-transfer.js'
import type { Answer } from './response-body.js'
import { type MissingFile, untilAborted } from './source.js'

/** Answers that mean that a file is not there. */
const ABSENT = [404, 410]

const NEEDS_LEAVE = "the host wants to know who asks, or does not allow it; a `fetch` of one's own, in the options, may send headers"

const EITHER = `browsers do not tell why: either the network failed, and trying again may help, or the host does not let pages of another origin read \
the file, and must answer with Access-Control-Allow-Origin (CORS)`

/** The host of a model's files. */
export class Host {
  private hasServed = false
  private readonly headers: Readonly<Record<string, string>>

  /** @param credentials 'user:password' of a URL: `fetch` takes none in URLs */
  constructor(
    private readonly fetch: Fetch,
    private readonly signal: AbortSignal | undefined,
    credentials?: string,
  ) {
    this.headers = credentials === undefined ? {} : { authorization: `Basic ${base64(credentials)}` }
  }

  /**
   * @throws BrokenTransfer where no answer came, or none that is worth keeping, of a host that had served before; of
   * one that never did, an error with the code `NETWORK`: it is a wrong address, or may not be asked from this page,
   * which is better told at once. `BAD_FILE` with the status of any other refusal
   */
  async ask(url: URL, headers: Readonly<Record<string, string>>): Promise<Answer | MissingFile> {
    // A controller of our own: engines leave listeners on a signal that they are handed.
    const controller = new AbortController()
    const sent = { ...this.headers, ...headers }
    const init = { signal: controller.signal, ...(Object.keys(sent).length > 0 && { headers: sent }) }
    const { fetch } = this // browsers refuse to run theirs as a method of something else
    const answer: Promise<unknown> = (async () => fetch(url.href, init))()
    let response: unknown
    try {
      response = await untilAborted(this.signal, answer)
    } catch (cause) {
      controller.abort()
      answer.then(discard, () => undefined) // of a `fetch` that does not heed its signal
      if (this.signal?.aborted) throw this.signal.reason
      const why = `cannot fetch ${url.pathname} from ${url.origin}: ${withoutQuery(reasonOf(cause), url)}`
      throw this.passing(new BrokenTransfer(why, { cause }, isUntold(cause) ? EITHER : undefined))
    }
    if (!isResponse(response)) throw new RoutedAttentionError('BAD_ARGUMENT', `fetch must give a Response, got ${describe(response)}`)
    const { ok, status } = response
    if (response.body?.locked)
      throw new RoutedAttentionError('BAD_FILE', `${url.pathname} cannot be read: the body of its Response is being read`)
    if (ok || ('range' in headers && status === 416)) {
      this.hasServed = true
      return { response, cancel: () => controller.abort() }
    }
    controller.abort()
    if (ABSENT.includes(status)) return { missing: `status ${status}`, isReplaced: false, status }
    const refusal = `${url.pathname} was answered with status ${status} by ${url.origin}`
    if (isPassing(status)) throw this.passing(new BrokenTransfer(refusal, { status }))
    throw new RoutedAttentionError('BAD_FILE', status === 401 || status === 403 ? `${refusal}: ${NEEDS_LEAVE}` : refusal, { status })
  }

  private passing(broken: BrokenTransfer): RoutedAttentionError {
    return this.hasServed ? broken : broken.after(1)
  }
}

/** Whether a status may be another one soon: the request took too long, there were too many, the server is not well. */
function isPassing(status: number): boolean {
  return status === 408 || status === 429 || status >= 500
}

/**
 * Whether an error is one of a browser's, which has the same few words for every reason; other runtimes have a cause or
 * a code.
 */
function isUntold(error: unknown): boolean {
  return isError(error) && error.name === 'TypeError' && error.cause === undefined && !('code' in error)
}

/** A query may hold a key. */
function withoutQuery(message: string, { href, origin, pathname, search }: URL): string {
  const plain = message.replaceAll(href, origin + pathname)
  return search === '' ? plain : plain.replaceAll(search, '')
}

function base64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)))
}

function discard(response: unknown): void {
  if (isResponse(response)) void response.body?.cancel().catch(() => undefined)
}

function isResponse(value: unknown): value is Response {
  if (typeof value !== 'object' || value === null) return false
  const { ok, status, headers } = value as Partial<Record<keyof Response, unknown>>
  return typeof ok === 'boolean' && typeof status === 'number' && typeof (headers as Headers | undefined)?.get === 'function'
}
