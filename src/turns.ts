import type { Interrupt } from './interrupt.js'

/** Lets one piece of work at a time use what several share, in the order of asking; one that fails does not stop the next. */
export class Turns {
  #taken = false
  readonly #waiting: (() => void)[] = []

  /** Whether somebody is at it. */
  get taken(): boolean {
    return this.#taken
  }

  /** Whether somebody waits. */
  get wanted(): boolean {
    return this.#waiting.length > 0
  }

  /**
   * Begins `work` before it returns if nobody else is at it, and is free again before the promise resolves.
   * @param interrupt may end the wait; the work itself looks out for it on its own
   */
  async take<T>(work: () => Promise<T>, interrupt?: Interrupt): Promise<T> {
    if (this.#taken) await this.#wait(interrupt)
    this.#taken = true
    try {
      return await work()
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#taken = false
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

/** A turn of the event loop, without the milliseconds that a timer waits. */
export function nextTurn(): Promise<void> {
  if (typeof setImmediate === 'function') return new Promise((resolve) => setImmediate(resolve))
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel()
    port1.onmessage = () => {
      port1.close()
      resolve()
    }
    port2.postMessage(undefined)
  })
}
