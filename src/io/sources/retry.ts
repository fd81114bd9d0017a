import { pause } from './pause.js'

/** Milliseconds before something is tried again: 8 s in all, for a network that changes or a server that restarts. */
export const PAUSES: readonly number[] = [250, 500, 1000, 2000, 4000]

/** The same for what one can do without. */
export const SHORT_PAUSES = PAUSES.slice(0, 2)

/**
 * Tries until a result needs no other, or there are no pauses left.
 * @returns the last result, and how often it was tried
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
