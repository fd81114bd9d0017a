import { vi } from 'vitest'

/**
 * Resolves once `check` passes, with what it returns. A machine that stalls only makes it later: Vitest's own `vi.waitFor`
 * gives up after a second.
 */
export function eventually<T>(check: () => T | Promise<T>): Promise<T> {
  // below the limit of a test, so that the last failure is told
  return vi.waitFor(check, { timeout: 300_000, interval: 5 })
}
