import { describe, RoutedAttentionError } from '../../errors.js'
import type { FileCache } from '../file-cache.js'
import { responseFile } from './response-file.js'
import { type MissingFile, type OpenFile, type Source, untilAborted } from './source.js'
import type { Fetch } from '../read-options.js'

interface HttpOptions {
  fetch: Fetch
  signal: AbortSignal | undefined
  cache: FileCache | undefined
}

/** Answers that mean a file is not there; some stores say 403 for what they would not even list. */
const ABSENT = [403, 404, 410]

/** A folder behind http(s). A query in its URL is sent with every file's. */
export function httpSource(folder: URL, options: HttpOptions): Source {
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
      const cached = fresh ? undefined : await options.cache?.open(url.href, url.pathname)
      return cached ?? request(url, options)
    },
  }
}

async function request(url: URL, { fetch, signal, cache }: HttpOptions): Promise<OpenFile | MissingFile> {
  // A controller of our own: engines leave listeners on a signal that they are handed.
  const controller = new AbortController()
  const file = await answer(url, fetch, signal, controller)
  if ('missing' in file) return file
  const opened = responseFile(file, url.pathname, {
    signal,
    cancel: () => controller.abort(),
    ...(cache && { keep: (parts) => cache.keep(url.href, parts) }),
  })
  try {
    if (!(await opened.isPage())) return opened
  } catch (error) {
    await opened.close()
    throw error
  }
  await opened.close()
  return { missing: 'an HTML page came in its place', isReplaced: true }
}

async function answer(
  url: URL,
  fetch: Fetch,
  signal: AbortSignal | undefined,
  controller: AbortController,
): Promise<Response | MissingFile> {
  let response: unknown
  try {
    response = await untilAborted(signal, fetch(url.href, { signal: controller.signal }))
  } catch (cause) {
    controller.abort()
    if (signal?.aborted) throw signal.reason
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new RoutedAttentionError('BAD_FILE', `cannot fetch ${url.pathname} from ${url.origin}: ${reason}`, { cause })
  }
  if (!isResponse(response)) throw new RoutedAttentionError('BAD_ARGUMENT', `fetch must give a Response, got ${describe(response)}`)
  if (response.ok) return response
  controller.abort()
  if (ABSENT.includes(response.status)) return { missing: `status ${response.status}`, isReplaced: false }
  throw new RoutedAttentionError('BAD_FILE', `${url.pathname} was answered with status ${response.status} by ${url.origin}`)
}

function isResponse(value: unknown): value is Response {
  if (typeof value !== 'object' || value === null) return false
  const { ok, status, headers } = value as Partial<Record<keyof Response, unknown>>
  return typeof ok === 'boolean' && typeof status === 'number' && typeof (headers as Headers | undefined)?.get === 'function'
}
