/** Whether this is an edge worker of Cloudflare's kind: requests may not wait for one another. */
export function requestsAreIsolated(): boolean {
  return typeof navigator === 'object' && navigator.userAgent === 'Cloudflare-Workers'
}

/** What edge workers have beside `setImmediate`, and what turns the event loop for the caller's own request. */
declare const scheduler: { wait?(milliseconds: number): Promise<void> } | undefined

/** Resolves in the next macrotask, without a timer's minimum delay. */
export function nextMacrotask(): Promise<void> {
  if (typeof scheduler === 'object' && typeof scheduler.wait === 'function') return scheduler.wait(0)
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

/** Longest time, in milliseconds, that calls on one thread may block the event loop. */
const LONGEST = 12
/** If the clock does not advance during computation (edge workers), yield after this many chunks. */
const MAX_CHUNKS = 64

/**
 * When the event loop last ran, and the number of chunks since. Shared by the whole process, since many short calls
 * block it as much as a long one.
 */
let lastTurn = -Infinity
let chunks = 0

/**
 * Yields to the event loop if it last ran more than `LONGEST` ago; call it between chunks. Returns undefined if there
 * is no need to wait.
 */
export function yieldToEventLoop(): Promise<void> | undefined {
  chunks++
  if (performance.now() - lastTurn < LONGEST && chunks < MAX_CHUNKS) return undefined
  return turnEventLoop()
}

/** Yields to the event loop in any case. */
export async function turnEventLoop(): Promise<void> {
  await nextMacrotask()
  lastTurn = performance.now()
  chunks = 0
}

/** Runs work that comes in small parts to completion. */
export function runToEnd<T>(work: Generator<void, T>): T {
  for (;;) {
    const { done, value } = work.next()
    if (done) return value
  }
}

/**
 * The same, yielding to the event loop now and then between parts.
 * @param check called after each yield; anything it throws ends the work
 */
export async function runInSlices<T>(work: Generator<void, T>, check: () => void): Promise<T> {
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
    work.return(undefined as never) // lets it release its resources
  }
}
