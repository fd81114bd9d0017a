import type { Interrupt } from './interrupt.js'

/** A mutual-exclusion lock with FIFO order; a failing task does not stop the next. */
export class Mutex {
  #isLocked = false
  readonly #waiting: (() => void)[] = []

  /** Whether a task is running. */
  get isLocked(): boolean {
    return this.#isLocked
  }

  /** Whether tasks are waiting. */
  get hasWaiters(): boolean {
    return this.#waiting.length > 0
  }

  /**
   * Starts `work` synchronously if the mutex is free, and releases it before the promise resolves.
   * @param interrupt may end the wait; the work itself must observe it separately
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
