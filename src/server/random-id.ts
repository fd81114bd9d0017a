/**
 * An id that nobody guesses: the prefix, and so many random bytes as base64url.
 * @param bytes a multiple of 3, so that nothing is padded
 */
export function randomId(prefix: string, bytes: number): string {
  const random = String.fromCharCode(...crypto.getRandomValues(new Uint8Array(bytes)))
  return prefix + btoa(random).replaceAll('+', '-').replaceAll('/', '_')
}
