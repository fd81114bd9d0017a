import { pause } from './pause.js'

/** Milliseconds between two looks at a load that another request does. */
const LOOK_INTERVAL = 10
/** Milliseconds without progress after which a load is taken for abandoned: its request has gone, and its code with it. */
const LEASE = 10_000

interface Attempt {
  /** When it last made progress, in milliseconds. */
  at: number
  failure: { readonly error: unknown } | undefined
}

/**
 * Loads something once for all requests of an isolate. One of them loads; the others wait by turns of their own, and one
 * takes over if the first makes no progress any more. A load that failed fails for all that waited for it; whoever comes
 * later begins anew.
 */
export class SharedLoad<T> {
  readonly #load: (onProgress: () => void) => Promise<T>
  readonly #now: () => number
  #loaded: { readonly value: T } | undefined
  #attempt: Attempt | undefined

  /** @param load to be told of progress */
  constructor(load: (onProgress: () => void) => Promise<T>, now: () => number = Date.now) {
    this.#load = load
    this.#now = now
  }

  /** What was loaded; undefined if nothing is yet. */
  get value(): T | undefined {
    return this.#loaded?.value
  }

  /** @throws whatever the load does */
  async get(): Promise<T> {
    for (;;) {
      if (this.#loaded) return this.#loaded.value
      const attempt = this.#attempt
      if (!attempt || this.#now() - attempt.at > LEASE) return this.#begin()
      await pause(LOOK_INTERVAL)
      if (attempt.failure) throw attempt.failure.error
    }
  }

  async #begin(): Promise<T> {
    const attempt: Attempt = { at: this.#now(), failure: undefined }
    this.#attempt = attempt
    try {
      const value = await this.#load(() => void (attempt.at = this.#now()))
      this.#loaded ??= { value }
      return this.#loaded.value
    } catch (error) {
      attempt.failure = { error }
      throw error
    } finally {
      if (this.#attempt === attempt) this.#attempt = undefined
    }
  }
}
