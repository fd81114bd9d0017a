import type { Signal } from './platform.js'

/** What may end work that is under way. */
export interface Interrupt {
  /** Throws why the work should end, once it should. */
  check(): void
  /**
   * Calls `listener` when that comes to be: once, or not at all.
   * @returns forgets the listener
   */
  listen(listener: () => void): () => void
}

/** Ends work when a signal does, and when one of the others does. */
export function interruptBy(signal: Signal | undefined, ...others: readonly Interrupt[]): Interrupt {
  return {
    check: () => {
      for (const other of others) other.check()
      signal?.throwIfAborted()
    },
    listen: (listener) => {
      const forgetters = others.map((other) => other.listen(listener))
      signal?.addEventListener('abort', listener)
      return () => {
        for (const forget of forgetters) forget()
        signal?.removeEventListener('abort', listener)
      }
    },
  }
}

/**
 * What `work` comes to, or the reason of the interrupt as soon as there is one: then the work goes on by itself, and
 * nobody hears of it.
 */
export function unlessInterrupted<T>(work: Promise<T>, interrupt: Interrupt): Promise<T> {
  return new Promise((resolve, reject) => {
    const end = () => {
      try {
        interrupt.check()
      } catch (reason) {
        forget()
        reject(reason)
      }
    }
    const forget = interrupt.listen(end)
    work.then(resolve, reject).finally(forget)
    end() // what has come to be before tells no listener
  })
}
