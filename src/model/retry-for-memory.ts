import { RoutedAttentionError } from '../errors.js'
import { nextMacrotask } from '../event-loop.js'

/**
 * Runs `work` and, if it runs out of memory, once more after the event loop has run, since collected objects release
 * their memory only then. `work` must leave nothing behind when it fails.
 */
export async function retryForMemory<T>(work: (attempt: number) => T | Promise<T>): Promise<T> {
  try {
    return await work(0)
  } catch (error) {
    if (!(error instanceof RoutedAttentionError && error.code === 'OUT_OF_MEMORY')) throw error
  }
  // the current turn may already be past the point where engines finalise
  await nextMacrotask()
  await nextMacrotask()
  return work(1)
}
