import { pause } from './pause.js'

/** Milliseconds before each retry, 8 s in all: enough for a change of network or a server restart. */
export const PAUSES: readonly number[] = [250, 500, 1000, 2000, 4000]

/** The same for optional files. */
export const SHORT_PAUSES = PAUSES.slice(0, 2)

/**
 * Retries until a result needs no retry or the pauses are exhausted.
 * @returns the last result, and the number of attempts
 */
export async function retry<T>(
  attempt: () => Promise<T>,
  isWorthAnother: (result: T) => boolean,
  pauses: readonly number[],
  signal: AbortSignal | undefined,
): Promise<{ result: T; tries: number }> {
  for (let tries = 1; ; tries++) {
    const result = await attempt()
    const milliseconds = pauses[tries - 1]
    if (milliseconds === undefined || !isWorthAnother(result)) return { result, tries }
    await pause(milliseconds, signal)
  }
}
