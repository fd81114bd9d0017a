import { expect } from 'vitest'
import type { LoadProgress } from '../../src/io/read-options.js'

/** Progress is never beyond its total, the total never falls, and both are the same in the end. */
export function expectSteady(events: readonly LoadProgress[]): void {
  let least = 0
  for (const { done, total } of events) {
    expect(done).toBeLessThanOrEqual(total)
    expect(total).toBeGreaterThanOrEqual(least)
    least = total
  }
  expect(events.at(-1)!.done).toBe(least)
}
