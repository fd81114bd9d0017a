import { delay } from './delay.js'

/** Milliseconds before each retry, 8 s in all: enough for a change of network or a server restart. */
export const RETRY_DELAYS: readonly number[] = [250, 500, 1000, 2000, 4000]

/** The same for optional files. */
export const FEW_RETRY_DELAYS = RETRY_DELAYS.slice(0, 2)

/**
 * Retries until a result needs no retry or the delays are exhausted.
 * @returns the last result, and the number of attempts
 */
export async function retry<T>(
  attempt: () => Promise<T>,
  isWorthAnother: (result: T) => boolean,
  delays: readonly number[],
  signal: AbortSignal | undefined,
): Promise<{ result: T; tries: number }> {
  for (let tries = 1; ; tries++) {
    const result = await attempt()
    const milliseconds = delays[tries - 1]
    if (milliseconds === undefined || !isWorthAnother(result)) return { result, tries }
    await delay(milliseconds, signal)
  }
}
