import { RoutedAttentionError } from '../../errors.js'
import { nextMacrotask } from '../../event-loop.js'

/**
 * Does `work`, and where that runs out of memory does it once more, after the event loop has turned: what was collected
 * gives its memory back only then. It must leave nothing behind when it fails.
 */
export async function retryForMemory<T>(work: (attempt: number) => T | Promise<T>): Promise<T> {
  try {
    return await work(0)
  } catch (error) {
    if (!(error instanceof RoutedAttentionError && error.code === 'OUT_OF_MEMORY')) throw error
  }
  // a turn that is half over may have passed the place where engines finalise
  await nextMacrotask()
  await nextMacrotask()
  return work(1)
}
