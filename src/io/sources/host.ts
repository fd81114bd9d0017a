import { describe, reasonOf, RoutedAttentionError } from '../../errors.js'
import { isError } from '../../realm.js'
import type { Fetch } from '../read-options.js'
import { BrokenTransfer } from './broken-transfer.js'
import type { HostResponse } from './response-body.js'
import { type MissingFile, untilAborted } from './source.js'

/** Statuses that mean a file does not exist. */
const ABSENT = [404, 410]

const NEEDS_LEAVE = 'the host requires authentication or denies access; pass a `fetch` in the options that sends the headers it needs'

const EITHER = `browsers do not say why: either the network failed, and trying again may help, or the host does not let pages of another origin read \
the file, and must answer with Access-Control-Allow-Origin (CORS)`

/** The host of a model's files. */
export class Host {
  private hasServed = false
  private readonly headers: Readonly<Record<string, string>>

  /** @param credentials 'user:password' of a URL: `fetch` rejects URLs that contain them */
  constructor(
    private readonly fetch: Fetch,
    private readonly signal: AbortSignal | undefined,
    credentials?: string,
  ) {
    this.headers = credentials === undefined ? {} : { authorization: `Basic ${base64(credentials)}` }
  }

  /**
   * @throws BrokenTransfer if there was no usable response from a host that had responded before. If it never had, an
   * error with the code `NETWORK`, without retries: the address is wrong, or this page may not access it. `BAD_FILE`
   * with the status of any other refusal
   */
  async requestFile(url: URL, headers: Readonly<Record<string, string>>): Promise<HostResponse | MissingFile> {
    // A separate controller, since engines leave listeners on a signal passed to them.
    const controller = new AbortController()
    const sent = { ...this.headers, ...headers }
    const init = { signal: controller.signal, ...(Object.keys(sent).length > 0 && { headers: sent }) }
    const { fetch } = this // browsers refuse to call theirs as a method of another object
    const responded: Promise<unknown> = (async () => fetch(url.href, init))()
    let response: unknown
    try {
      response = await untilAborted(this.signal, responded)
    } catch (cause) {
      controller.abort()
      responded.then(discard, () => undefined) // for a `fetch` that ignores its signal
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

/** Whether a status may be temporary: timeout, too many requests, server error. */
function isPassing(status: number): boolean {
  return status === 408 || status === 429 || status >= 500
}

/**
 * Whether an error is a browser's, which gives the same message for every reason; other runtimes give a cause or a
 * code.
 */
function isUntold(error: unknown): boolean {
  return isError(error) && error.name === 'TypeError' && error.cause === undefined && !('code' in error)
}

/** A query may contain a key. */
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
