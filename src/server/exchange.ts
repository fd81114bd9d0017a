import type { HttpError } from './http-error.js'
import type { Usage } from './log.js'

/** One request, as its route sees it. */
export interface Exchange {
  readonly request: Request
  readonly url: URL
  /** The segments of the path that the route's pattern names. */
  readonly params: Readonly<Record<string, string>>
  /** Number of the key that it showed, in the order of `apiKeys`; 0 if none is needed. */
  readonly key: number
  /** Aborts with an HttpError when the client has left or the server ends what is under way. */
  readonly signal: AbortSignal
  /** Aborts the signal. */
  readonly abort: (reason: HttpError) => void
  /** What the route reports of its work. */
  readonly usage: Usage
}
