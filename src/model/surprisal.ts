/** The surprisal -log2 p of a token, in bits, of the natural logarithm of p. */
export function surprisalOf(logProbability: number): number {
  // avoids -0 for certain tokens
  return 0 - logProbability / Math.LN2
}
