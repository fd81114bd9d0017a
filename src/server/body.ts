import { HttpError } from './http-error.js'

/** Limits of reading a body. */
export interface BodyLimits {
  readonly maxBodyBytes: number
  /** Milliseconds in which something must arrive. */
  readonly stallTimeout: number
}

/**
 * Reads a body of JSON, as `readBytes` does.
 * @param signal ends the wait
 * @throws HttpError 400, 408, 413, 415; or the signal's reason
 */
export async function readJson(request: Request, limits: BodyLimits, signal: AbortSignal): Promise<unknown> {
  if (mediaType(request) !== 'application/json')
    throw new HttpError(415, 'UNSUPPORTED_MEDIA_TYPE', 'the body must be JSON, with the header content-type: application/json')
  const bytes = await readBytes(request, limits, signal)
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new HttpError(400, 'BAD_ARGUMENT', 'the body must be UTF-8, and is not')
  }
  try {
    return JSON.parse(text) as unknown
  } catch {
    // the engine's message would quote the text
    throw new HttpError(400, 'BAD_ARGUMENT', `the body must be JSON, and its ${bytes.length} bytes are not`)
  }
}

/**
 * The media type of a body, in lower case; '' for none. Parameters, such as charset, change nothing: JSON is UTF-8 (RFC
 * 8259).
 */
export function mediaType({ headers }: Request): string {
  return (headers.get('content-type') ?? '').split(';')[0]!.trim().toLowerCase()
}

/**
 * Reads a body as it arrives, and stops at the limit, whatever its Content-Length says.
 * @param signal ends the wait
 * @throws HttpError 400, 408, 413, 415 (a content-encoding); or the signal's reason
 */
export async function readBytes(
  { body, headers }: Request,
  { maxBodyBytes, stallTimeout }: BodyLimits,
  signal: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  const encoding = headers.get('content-encoding') ?? 'identity'
  if (encoding.toLowerCase() !== 'identity')
    throw new HttpError(415, 'UNSUPPORTED_MEDIA_TYPE', 'the body must be plain: it has a content-encoding', {
      headers: { 'accept-encoding': 'identity' },
    })
  const refuse = () => new HttpError(413, 'TOO_LARGE', `the body has more than the ${maxBodyBytes} bytes that are allowed`)
  if (Number(headers.get('content-length')) > maxBodyBytes) throw refuse()
  if (!body) return new Uint8Array(0)
  const reader = body.getReader()
  const parts: Uint8Array[] = []
  let length = 0
  try {
    for (;;) {
      const { done, value } = await within(stallTimeout, signal, reader.read())
      if (done) break
      length += value.length
      if (length > maxBodyBytes) throw refuse()
      parts.push(value)
    }
  } catch (error) {
    // the rest is not wanted; that it cannot be cancelled changes nothing
    reader.cancel().catch(() => {})
    throw error
  }
  const bytes = new Uint8Array(length)
  let offset = 0
  for (const part of parts) {
    bytes.set(part, offset)
    offset += part.length
  }
  return bytes
}

/** Settles as `work` does, unless the time is over or the signal aborts before. */
function within<T>(milliseconds: number, signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const stalled = () => reject(new HttpError(408, 'TIMEOUT', `nothing of the body arrived for ${milliseconds} ms`))
    const abort = () => reject(signal.reason as Error)
    const timer = setTimeout(stalled, milliseconds)
    signal.addEventListener('abort', abort)
    if (signal.aborted) abort()
    // a client that leaves in the middle of its body
    const broken = () => reject(new HttpError(400, 'CLIENT_LEFT', 'the body broke off'))
    work.then(resolve, broken).finally(() => {
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
    })
  })
}
