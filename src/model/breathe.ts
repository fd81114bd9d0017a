/** Longest that a call on one thread keeps the event loop from its other work, in milliseconds. */
const LONGEST = 12

/** Lets the event loop turn, now and then: call it between pieces. */
export class Breather {
  #since = performance.now()

  /** Resolves at once, or after a turn of the event loop when the last one is `LONGEST` ago. */
  breathe(): Promise<void> | undefined {
    if (performance.now() - this.#since < LONGEST) return undefined
    return nextTurn().then(() => {
      this.#since = performance.now()
    })
  }
}

/** A turn of the event loop, without the milliseconds that a timer waits. */
function nextTurn(): Promise<void> {
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
