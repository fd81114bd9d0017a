import type { DrawnBy } from '../protocol.js'

/** What a generation has behind it when it draws a token: only what it wrote itself counts as written. */
export interface Context {
  /** Tokens that it was given. */
  readonly given: ArrayLike<number>
  readonly written: ArrayLike<number>
}

/**
 * The probability with which `generate` draws each token, in its order of steps: penalties, temperature, top-k, top-p,
 * min-p. The package draws tokens but does not give this; float32 and float64 are used where it uses them, so that a
 * token on the edge of top-p is kept or left out as it is there.
 * @param logits the model's own, [V]
 * @returns [V]; 0 for tokens that are never drawn, the sum of all is 1
 */
export function drawnProbabilities(logits: Float32Array, settings: DrawnBy, context: Context): Float64Array {
  const adjusted = penalized(logits, settings, context)
  const result = new Float64Array(logits.length)
  let best = 0
  for (let id = 1; id < adjusted.length; id++) if (adjusted[id]! > adjusted[best]!) best = id
  if (settings.temperature === 0) {
    result[best] = 1
    return result
  }
  const largest = adjusted[best]!
  const weights = Float64Array.from(adjusted, (logit) => Math.exp((logit - largest) / settings.temperature))
  const kept = candidates(adjusted, weights, settings)
  let sum = 0
  for (const id of kept) sum += weights[id]!
  for (const id of kept) result[id] = weights[id]! / sum
  return result
}

function penalized(
  logits: Float32Array,
  { repetitionPenalty, frequencyPenalty, presencePenalty }: DrawnBy,
  { given, written }: Context,
): Float32Array {
  const result = logits.slice()
  if (repetitionPenalty === 1 && frequencyPenalty === 0 && presencePenalty === 0) return result
  const counts = new Map<number, number>()
  for (let i = 0; i < given.length; i++) counts.set(given[i]!, 0)
  for (let i = 0; i < written.length; i++) counts.set(written[i]!, (counts.get(written[i]!) ?? 0) + 1)
  for (const [id, count] of counts) {
    const logit = logits[id]!
    const rarer = logit < 0 ? logit * repetitionPenalty : logit / repetitionPenalty
    result[id] = rarer - frequencyPenalty * count - (count > 0 ? presencePenalty : 0)
  }
  return result
}

/** The tokens that may be drawn. */
function candidates(logits: Float32Array, weights: Float64Array, { topK, topP, minP }: DrawnBy): Uint32Array {
  const all = Uint32Array.from(logits, (_, id) => id)
  const isLimited = topK > 0 && topK < logits.length
  const isPossible = (id: number): boolean => weights[id]! > 0 && weights[id]! >= minP
  if (!isLimited && topP === 1) return all.filter(isPossible)
  const likeliest = all.slice().sort((a, b) => logits[b]! - logits[a]! || a - b)
  const first = isLimited ? likeliest.subarray(0, topK) : likeliest
  // a sum of floats depends on its order
  const total = (isLimited ? first : all).reduce((sum, id) => sum + weights[id]!, 0)
  const enough = topP === 1 ? Infinity : topP * total
  let sum = 0
  let end = 0
  while (end < first.length && sum < enough && isPossible(first[end]!)) sum += weights[first[end++]!]!
  return first.subarray(0, end)
}
