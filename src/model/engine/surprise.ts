/** -log2 p of a token, where p is given by its natural logarithm. */
export function bitsOf(logProbability: number): number {
  // avoids -0 for certain tokens
  return 0 - logProbability / Math.LN2
}
