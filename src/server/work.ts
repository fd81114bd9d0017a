import { HttpError } from './http-error.js'

/** Something under way that a shutdown waits for: a request, or a turn that goes on without one. */
export interface WorkItem {
  /** Aborts with an HttpError when it must end. */
  readonly signal: AbortSignal
  abort(reason: HttpError): void
  /** Must be called once, when it has ended. */
  end(): void
}

/** All that is under way. */
export class Work {
  readonly #remembers: boolean
  readonly #items = new Set<AbortController>()
  #isClosing = false
  #whenIdle: (() => void)[] = []

  /** @param remembers false: what is under way is not kept, since it may go without a word; nothing can be closed then */
  constructor(remembers = true) {
    this.#remembers = remembers
  }

  get isClosing(): boolean {
    return this.#isClosing
  }

  begin(): WorkItem {
    const controller = new AbortController()
    if (this.#remembers) this.#items.add(controller)
    return {
      signal: controller.signal,
      abort: (reason) => controller.abort(reason),
      end: () => {
        this.#items.delete(controller)
        if (this.#items.size === 0) for (const resolve of this.#whenIdle.splice(0)) resolve()
      },
    }
  }

  /** Waits until everything has ended; what is still under way after `milliseconds` is aborted. */
  async close(milliseconds: number): Promise<void> {
    this.#isClosing = true
    const idle = new Promise<void>((resolve) => {
      if (this.#items.size === 0) resolve()
      else this.#whenIdle.push(resolve)
    })
    const timer = setTimeout(() => {
      for (const controller of this.#items) controller.abort(closing())
    }, milliseconds)
    await idle
    clearTimeout(timer)
  }
}

/** The server is shutting down: status 503. */
export function closing(): HttpError {
  return new HttpError(503, 'CLOSING', 'the server is shutting down', { headers: { 'retry-after': '5' } })
}
