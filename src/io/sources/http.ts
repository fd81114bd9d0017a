import { describe, reasonOf, RoutedAttentionError } from '../../errors.js'
import type { FileCache } from '../cache/file-cache.js'
import type { Fetch } from '../read-options.js'
import { BrokenTransfer, Download } from './download.js'
import type { Answer } from './response-body.js'
import { FileRestarted, type MissingFile, type OpenFile, type Source, untilAborted } from './source.js'
import { StreamFile } from './stream-file.js'

interface HttpOptions {
  fetch: Fetch
  signal: AbortSignal | undefined
  cache: FileCache | undefined
}

/** Answers that mean a file is not there; some stores say 403 for what they would not even list. */
const ABSENT = [403, 404, 410]

const PAGE_START_BYTES = 64

/** A folder behind http(s). A query in its URL is sent with every file's. */
export function httpSource(folder: URL, { fetch, signal, cache }: HttpOptions): Source {
  const server = new Server(fetch, signal)
  const urlOf = (file: string) => {
    const url = new URL(folder)
    url.hash = ''
    url.pathname = `${url.pathname.replace(/\/$/, '')}/${encodeURIComponent(file)}`
    return url
  }
  return {
    name: folder.origin + folder.pathname,
    isLocal: false,
    open: async (file, fresh) => {
      const url = urlOf(file)
      const entry = cache?.entry(url, file)
      const cached = fresh ? undefined : await entry?.open()
      if (cached) return cached
      const download = new Download(url.pathname, (headers) => server.ask(url, headers), signal)
      const opened = new StreamFile(download, url.pathname)
      const restart = async (): Promise<OpenFile | MissingFile> =>
        (await pageIn(opened)) ?? Object.assign(opened, { restart }, entry && { keep: entry.keep })
      const missing = await download.begin()
      return missing ?? restart()
    },
  }
}

/** Whether a web page came in place of a file, as servers of single-page applications answer for what they lack. Such a file is closed. */
async function pageIn(file: StreamFile): Promise<MissingFile | undefined> {
  for (;;) {
    try {
      const start = String.fromCharCode(...(await file.peek(PAGE_START_BYTES)).subarray(0, PAGE_START_BYTES))
      if (!/^(\xef\xbb\xbf)?\s*<(!doctype|!--|html|head|body)/i.test(start)) return undefined
      await file.close()
      return { missing: 'an HTML page came in its place', isReplaced: true }
    } catch (error) {
      if (!(error instanceof FileRestarted)) throw error
    }
  }
}

class Server {
  private hasServed = false

  constructor(
    private readonly fetch: Fetch,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /**
   * @throws BrokenTransfer where no answer came, or none that is worth keeping, of a server that had served before;
   *   one that never did is a wrong address, or may not be asked from this page: that is better told at once
   */
  async ask(url: URL, headers: Readonly<Record<string, string>>): Promise<Answer | MissingFile> {
    // A controller of our own: engines leave listeners on a signal that they are handed.
    const controller = new AbortController()
    const failed = (why: string, options?: ErrorOptions) =>
      new (this.hasServed ? BrokenTransfer : RoutedAttentionError)('BAD_FILE', why, options)
    let response: unknown
    try {
      const init = { signal: controller.signal, ...(Object.keys(headers).length > 0 && { headers }) }
      const { fetch } = this // browsers refuse to run theirs as a method of something else
      response = await untilAborted(this.signal, fetch(url.href, init))
    } catch (cause) {
      controller.abort()
      if (this.signal?.aborted) throw this.signal.reason
      throw failed(`cannot fetch ${url.pathname} from ${url.origin}: ${reasonOf(cause)}`, { cause })
    }
    if (!isResponse(response)) throw new RoutedAttentionError('BAD_ARGUMENT', `fetch must give a Response, got ${describe(response)}`)
    const { ok, status } = response
    if (ok || ('range' in headers && status === 416)) {
      this.hasServed = true
      return { response, cancel: () => controller.abort() }
    }
    controller.abort()
    if (ABSENT.includes(status)) return { missing: `status ${status}`, isReplaced: false }
    const refusal = `${url.pathname} was answered with status ${status} by ${url.origin}`
    throw isPassing(status) ? failed(refusal) : new RoutedAttentionError('BAD_FILE', refusal)
  }
}

/** Whether a status may be another one soon: the request took too long, there were too many, the server is not well. */
function isPassing(status: number): boolean {
  return status === 408 || status === 429 || status >= 500
}

function isResponse(value: unknown): value is Response {
  if (typeof value !== 'object' || value === null) return false
  const { ok, status, headers } = value as Partial<Record<keyof Response, unknown>>
  return typeof ok === 'boolean' && typeof status === 'number' && typeof (headers as Headers | undefined)?.get === 'function'
}
