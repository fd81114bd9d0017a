/** -log2 p of a token, where p is given by its natural logarithm. */
export function bitsOf(logProbability: number): number {
  // not -0 for what is certain
  return 0 - logProbability / Math.LN2
}
