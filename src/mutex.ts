import type { Interrupt } from './interrupt.js'

/**
 * A mutual-exclusion lock; a failing task does not stop the next. Waiting tasks run in the order of their calls, urgent
 * ones before all others.
 */
export class Mutex {
  #isLocked = false
  readonly #urgent: (() => void)[] = []
  readonly #waiting: (() => void)[] = []

  /** Whether a task is running. */
  get isLocked(): boolean {
    return this.#isLocked
  }

  /** Whether tasks are waiting. */
  get hasWaiters(): boolean {
    return this.#waiting.length + this.#urgent.length > 0
  }

  /**
   * Starts `work` synchronously if the mutex is free, and releases it before the promise resolves.
   * @param interrupt may end the wait; the work itself must observe it separately
   */
  async runExclusive<T>(work: () => Promise<T>, interrupt?: Interrupt, { urgent = false } = {}): Promise<T> {
    if (this.#isLocked) await this.#wait(urgent ? this.#urgent : this.#waiting, interrupt)
    this.#isLocked = true
    try {
      return await work()
    } finally {
      const next = this.#urgent.shift() ?? this.#waiting.shift()
      if (next) next()
      else this.#isLocked = false
    }
  }

  #wait(queue: (() => void)[], interrupt: Interrupt | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const begin = () => {
        forget?.()
        resolve()
      }
      queue.push(begin)
      const forget = interrupt?.listen(() => {
        try {
          interrupt.check()
        } catch (reason) {
          forget!()
          queue.splice(queue.indexOf(begin), 1)
          reject(reason)
        }
      })
    })
  }
}
