import { nextTurn } from './turns.js'

/** Longest that calls on one thread keep the event loop from its other work, in milliseconds. */
const LONGEST = 12
/** Where the clock stands still during computation (edge workers), a turn is due after this many pieces. */
const MOST_PIECES = 64

/** When the event loop was last known to turn, and pieces since: of the whole process, since short calls in a row hold it as one long call does. */
let lastTurn = -Infinity
let pieces = 0

/** Lets the event loop turn, now and then: call it between pieces. Resolves at once, or after a turn when the last one is `LONGEST` ago. */
export function breathe(): Promise<void> | undefined {
  pieces++
  if (performance.now() - lastTurn < LONGEST && pieces < MOST_PIECES) return undefined
  return nextTurn().then(() => {
    lastTurn = performance.now()
    pieces = 0
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
      const turning = breathe()
      if (!turning) continue
      await turning
      check()
    }
  } finally {
    work.return(undefined as never) // it gives back what it holds
  }
}
