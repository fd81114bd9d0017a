import type { HostResponse } from './response-body.js'

/** What a response says about the file. */
export interface Representation {
  /** Size of the whole file in bytes, if certain. */
  readonly size: number | undefined
  /** The same, if it may be wrong. */
  readonly sizeHint: number | undefined
  /** Bytes that must arrive at least; fewer mean a broken transfer. */
  readonly least: number | undefined
  /** For `If-Range`: identifies this version of the file, byte for byte. Without one, a transfer cannot be resumed. */
  readonly validator: string | undefined
  /**
   * Whether headers may be hidden, in particular the encoding: for files of another origin, or with a caller's `fetch`.
   */
  readonly isVeiled: boolean
}

export const UNKNOWN: Representation = { size: undefined, sizeHint: undefined, least: undefined, validator: undefined, isVeiled: false }

/**
 * For a response with the whole file. Content-Length and positions count encoded bytes, so an encoded body has neither.
 */
export function representationOf({ response, isPlain = response.type === 'basic' }: HostResponse): Representation {
  const isVeiled = !isPlain
  if (isEncoded(response)) return { ...UNKNOWN, isVeiled }
  const length = wholeNumber(response.headers.get('content-length'))
  // On a page, a broken transfer from another origin is a stream error, so the length is not needed to detect it.
  const least = response.type === 'cors' ? undefined : length
  return { size: isVeiled ? undefined : length, sizeHint: length, least, validator: strongValidator(response), isVeiled }
}

export function isEncoded(response: Response): boolean {
  return (response.headers.get('content-encoding') ?? 'identity').toLowerCase() !== 'identity'
}

/**
 * Minimum age of a Last-Modified date relative to its response: otherwise the file may have changed twice within its
 * second, or the clocks may differ.
 */
const SETTLED_MS = 60_000

/** RFC 9110 section 13.1.5: a strong entity tag or, without any tag, a date that is old enough. */
function strongValidator({ headers, type }: Response): string | undefined {
  const tag = headers.get('etag')
  if (tag !== null) return /^"[^"]*"$/.test(tag) ? tag : undefined
  if (type === 'cors') return undefined // there may be a weak tag; hosts that do not expose tags do not expose Content-Range either
  const modified = headers.get('last-modified')
  if (modified === null) return undefined
  const answered = Date.parse(headers.get('date') ?? '') || Date.now()
  return Date.parse(modified) <= answered - SETTLED_MS ? modified : undefined
}

/** The contents of Content-Range, RFC 9110 section 14.4. */
export interface ContentRange {
  /** First byte of the part; undefined if there is none (status 416). */
  readonly first: number | undefined
  /** Size of the whole file in bytes, if given. */
  readonly total: number | undefined
}

/** Undefined if there is none, or it is malformed. */
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
