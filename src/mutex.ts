import type { Interrupt } from './interrupt.js'

/**
 * Lets one piece of work at a time use what several share, in the order of asking; one that fails does not stop the
 * next.
 */
export class Mutex {
  #isLocked = false
  readonly #waiting: (() => void)[] = []

  /** Whether somebody is at it. */
  get isLocked(): boolean {
    return this.#isLocked
  }

  /** Whether somebody waits. */
  get hasWaiters(): boolean {
    return this.#waiting.length > 0
  }

  /**
   * Begins `work` before it returns if nobody else is at it, and is free again before the promise resolves.
   * @param interrupt may end the wait; the work itself looks out for it on its own
   */
  async runExclusive<T>(work: () => Promise<T>, interrupt?: Interrupt): Promise<T> {
    if (this.#isLocked) await this.#wait(interrupt)
    this.#isLocked = true
    try {
      return await work()
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#isLocked = false
    }
  }

  #wait(interrupt: Interrupt | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const begin = () => {
        forget?.()
        resolve()
      }
      this.#waiting.push(begin)
      const forget = interrupt?.listen(() => {
        try {
          interrupt.check()
        } catch (reason) {
          forget!()
          this.#waiting.splice(this.#waiting.indexOf(begin), 1)
          reject(reason)
        }
      })
    })
  }
}
