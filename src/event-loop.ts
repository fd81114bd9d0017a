/** A turn of the event loop, without the milliseconds that a timer waits. */
export function nextMacrotask(): Promise<void> {
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

/** Longest that calls on one thread keep the event loop from its other work, in milliseconds. */
const LONGEST = 12
/** Where the clock stands still during computation (edge workers), a turn is due after this many chunks. */
const MOST_CHUNKS = 64

/**
 * When the event loop was last known to turn, and chunks since: of the whole process, since short calls in a row hold
 * it as one long call does.
 */
let lastTurn = -Infinity
let chunks = 0

/**
 * Lets the event loop turn, now and then: call it between chunks. Resolves at once, or after a turn when the last one
 * is `LONGEST` ago.
 */
export function yieldToEventLoop(): Promise<void> | undefined {
  chunks++
  if (performance.now() - lastTurn < LONGEST && chunks < MOST_CHUNKS) return undefined
  return nextMacrotask().then(() => {
    lastTurn = performance.now()
    chunks = 0
  })
}

/** Work in small parts, done in one go. */
export function atOnce<T>(work: Generator<void, T>): T {
  for (;;) {
    const { done, value } = work.next()
    if (done) return value
  }
}

/**
 * The same work, the event loop turning now and then between its parts.
 * @param check called after a turn; what it throws ends the work
 */
export async function gradually<T>(work: Generator<void, T>, check: () => void): Promise<T> {
  try {
    for (;;) {
      const { done, value } = work.next()
      if (done) return value
      const turning = yieldToEventLoop()
      if (!turning) continue
      await turning
      check()
    }
  } finally {
    work.return(undefined as never) // it gives back what it holds
  }
}
