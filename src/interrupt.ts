import type { Signal } from './platform.js'

/** A source of cancellation for work in progress. */
export interface Interrupt {
  /** Throws the reason if the work should end. */
  check(): void
  /**
   * Calls `listener` at most once, when the interrupt occurs.
   * @returns a function that removes the listener
   */
  listen(listener: () => void): () => void
}

/** An interrupt that occurs when the signal aborts or one of the others occurs. */
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
 * Settles as `work` does, or rejects with the interrupt's reason as soon as it occurs; `work` then continues
 * unobserved.
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
    end() // an interrupt that has already occurred calls no listener
  })
}
