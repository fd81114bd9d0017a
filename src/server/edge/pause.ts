/**
 * Waits by a timer of the caller's own. On edge workers a request must not wait for what another one resolves: it looks
 * again, now and then.
 */
export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}
