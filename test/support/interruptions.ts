/** What may happen in the middle of a call, at a place that the test chooses. */
import type { Runtime } from '../../src/device/runtime.js'
import { RoutedAttentionError } from '../../src/errors.js'

/**
 * Calls `act` once the device has begun to run a program for the `nth` time from now, as other code that shares the
 * thread would: in a microtask, while the call that the program belongs to is pending.
 * @returns puts an end to it
 */
export function afterRun(runtime: Runtime, nth: number, act: () => void): () => void {
  const { device } = runtime
  const run = device.run.bind(device)
  let runs = 0
  device.run = (program, call, interrupt) => {
    if (++runs === nth) queueMicrotask(act)
    return run(program, call, interrupt)
  }
  return () => void (device.run = run)
}

/** How many programs the device runs until `work` has ended. */
export async function countRuns(runtime: Runtime, work: () => Promise<unknown>): Promise<number> {
  const { device } = runtime
  const run = device.run.bind(device)
  let runs = 0
  device.run = (program, call, interrupt) => {
    runs++
    return run(program, call, interrupt)
  }
  await work()
  device.run = run
  return runs
}

/**
 * Makes the `nth` allocation from now fail, and all after it, as when the memory cannot grow.
 * @param isShort for how long; default: until the end
 * @returns undoes this, and says whether any allocation failed
 */
export function failAllocation(runtime: Runtime, nth: number, isShort = () => true): () => boolean {
  const { device } = runtime
  const allocate = device.allocate.bind(device)
  let allocations = 0
  device.allocate = (byteLength, purpose, options) => {
    if (++allocations >= nth && isShort()) throw new RoutedAttentionError('OUT_OF_MEMORY', `${purpose}: the test lets this allocation fail`)
    return allocate(byteLength, purpose, options)
  }
  return () => {
    device.allocate = allocate
    return allocations >= nth
  }
}

/** What a promise came to: a value, or what it was rejected with. */
export type Outcome<T> = { readonly value: T } | { readonly reason: unknown }

export function outcomeOf<T>(promise: Promise<T>): Promise<Outcome<T>> {
  return promise.then(
    (value) => ({ value }),
    (reason: unknown) => ({ reason }),
  )
}
