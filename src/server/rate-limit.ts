import { HttpError, retryAfter } from './http-error.js'

/** Clients that are remembered. A client forgotten is counted anew, so this bounds memory and no more. */
const MAX_CLIENTS = 10_000

/** A bucket of tokens for each client: it holds a minute's requests, and fills up evenly. */
export class RateLimit {
  readonly #perMinute: number
  /** Those seen last come last. */
  readonly #buckets = new Map<string, { left: number; at: number }>()
  readonly #now: () => number

  /** @param now the time in milliseconds */
  constructor(perMinute: number, now: () => number = () => Date.now()) {
    this.#perMinute = perMinute
    this.#now = now
  }

  /** Counts a request. @throws HttpError 429 */
  take(client: string): void {
    if (this.#perMinute === Infinity) return
    const now = this.#now()
    const capacity = Math.max(1, this.#perMinute)
    const { left, at } = this.#buckets.get(client) ?? { left: capacity, at: now }
    const filled = Math.min(capacity, left + (Math.max(0, now - at) / 60_000) * this.#perMinute)
    this.#buckets.delete(client)
    this.#buckets.set(client, { left: Math.max(0, filled >= 1 ? filled - 1 : filled), at: now })
    if (this.#buckets.size > MAX_CLIENTS) this.#buckets.delete(this.#buckets.keys().next().value!)
    if (filled >= 1) return
    throw new HttpError(429, 'RATE_LIMITED', `more than the ${this.#perMinute} requests a minute that a client may send`, {
      headers: retryAfter(((1 - filled) / this.#perMinute) * 60),
    })
  }
}
