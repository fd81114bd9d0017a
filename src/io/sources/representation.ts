import type { Answer } from './response-body.js'

/** What a response says of the file that it brings. */
export interface Representation {
  /** Bytes of the whole file, where that is certain. */
  readonly size: number | undefined
  /** The same where it may be wrong. */
  readonly sizeHint: number | undefined
  /** Bytes that come at least, lest the transfer has broken. */
  readonly least: number | undefined
  /**
   * For `If-Range`: tells this state of the file from any other, byte for byte. Without one, a transfer cannot be
   * resumed.
   */
  readonly validator: string | undefined
  /**
   * Whether headers may be there that are not shown: the encoding above all, of another origin's file, or by a `fetch`
   * of the caller's.
   */
  readonly isVeiled: boolean
}

export const UNKNOWN: Representation = { size: undefined, sizeHint: undefined, least: undefined, validator: undefined, isVeiled: false }

/**
 * Of an answer that brings the whole file. Content-Length and positions count encoded bytes, so that an encoded body
 * has neither.
 */
export function representationOf({ response, isPlain = response.type === 'basic' }: Answer): Representation {
  const isVeiled = !isPlain
  if (isEncoded(response)) return { ...UNKNOWN, isVeiled }
  const length = wholeNumber(response.headers.get('content-length'))
  // What breaks off on its way to a page of another origin is an error of the stream: there the length need not be
  // relied on.
  const least = response.type === 'cors' ? undefined : length
  return { size: isVeiled ? undefined : length, sizeHint: length, least, validator: strongValidator(response), isVeiled }
}

export function isEncoded(response: Response): boolean {
  return (response.headers.get('content-encoding') ?? 'identity').toLowerCase() !== 'identity'
}

/**
 * How much older than its answer a Last-Modified must be, lest the file changed twice within its second and the clocks
 * differ.
 */
const SETTLED_MS = 60_000

/**
 * RFC 9110 section 13.1.5: an entity tag that is not weak, or, where there is none, a date that is long enough past.
 */
function strongValidator({ headers, type }: Response): string | undefined {
  const tag = headers.get('etag')
  if (tag !== null) return /^"[^"]*"$/.test(tag) ? tag : undefined
  if (type === 'cors') return undefined // there may be a weak one, and who exposes none does not expose Content-Range either
  const modified = headers.get('last-modified')
  if (modified === null) return undefined
  const answered = Date.parse(headers.get('date') ?? '') || Date.now()
  return Date.parse(modified) <= answered - SETTLED_MS ? modified : undefined
}

/** What Content-Range says, RFC 9110 section 14.4. */
export interface ContentRange {
  /** The first byte that came; undefined where none did (status 416). */
  readonly first: number | undefined
  /** Bytes of the whole file, where it says so. */
  readonly total: number | undefined
}

/** Undefined where there is none, or none that can be read. */
export function contentRangeOf({ headers }: Response): ContentRange | undefined {
  const [, first, last, total] = /^bytes (?:(\d+)-(\d+)|\*)\/(\d+|\*)$/i.exec(headers.get('content-range')?.trim() ?? '') ?? []
  if (total === undefined) return undefined
  const range = { first: wholeNumber(first), total: wholeNumber(total) }
  const isInOrder = first === undefined || (Number(first) <= Number(last) && (range.total === undefined || Number(last) < range.total))
  return isInOrder ? range : undefined
}

function wholeNumber(text: string | null | undefined): number | undefined {
  return /^\d+$/.test(text ?? '') && Number.isSafeInteger(Number(text)) ? Number(text) : undefined
}
