import { describe, RoutedAttentionError } from '../../errors.js'
import { createRandom } from '../../random.js'
import { isFloat32Array } from '../../realm.js'
import { CategoricalSampler } from './categorical-sampler.js'
import { LogprobReader, type Sample } from './logprob-reader.js'
import type { SamplingConfig } from './sampling-options.js'

export interface Sampler {
  /**
   * @param logits one value per token; -Infinity forbids a token
   * @param given the unadjusted logits, used for the reported probabilities; default: `logits`
   * @throws RoutedAttentionError `NUMERIC` if the logits define no distribution: NaN or +Infinity among them, or
   * nothing above -Infinity; `BAD_ARGUMENT` if they are not a Float32Array, or empty
   */
  sample(logits: Float32Array, given?: Float32Array): Sample
  /** Goes on as if it had chosen so many tokens more. */
  skip(count: number): void
}

/** Returns a sampler that uses one stream of random numbers; temperature 0 draws none. */
export function createSampler(config: SamplingConfig): Sampler {
  const random = createRandom(config.seed)
  const logprobs = new LogprobReader(config.topLogprobs)
  let sampler: CategoricalSampler | undefined
  return {
    sample(logits, given = logits) {
      const isAdjusted = given !== logits
      const best = mostProbable(logits, isAdjusted ? ADJUSTED : UNADJUSTED)
      let id = best
      if (config.temperature > 0) {
        if (sampler?.size !== logits.length) sampler = new CategoricalSampler(config, logits.length)
        id = sampler.draw(logits, logits[best]!, random.uniform())
      }
      if (isAdjusted) return logprobs.read(given, id, given[mostProbable(given)]!)
      return logprobs.read(logits, id, logits[best]!, sampler?.sumOfAll)
    },
    skip(count) {
      for (let i = 0; i < count && config.temperature > 0; i++) random.uniform()
    },
  }
}

/** Likely reasons why logits define no distribution. */
const UNADJUSTED = 'the weights or the input overflow'
const ADJUSTED = 'penalties, logitBias or logitsProcessor forbid every token or produced NaN'

/**
 * @throws RoutedAttentionError `NUMERIC` if the logits define no distribution; `BAD_ARGUMENT` if they are not a
 * Float32Array, or empty
 */
export function mostProbable(logits: Float32Array, reason = UNADJUSTED): number {
  if (!isFloat32Array(logits) || logits.length === 0) {
    throw new RoutedAttentionError('BAD_ARGUMENT', `logits must be a Float32Array of at least one value, got ${describe(logits)}`)
  }
  let best = 0
  for (let i = 0; i < logits.length; i++) {
    const logit = logits[i]!
    if (Number.isNaN(logit) || logit === Infinity) throw unusable(`token ${i} has ${logit}`, reason)
    if (logit > logits[best]!) best = i
  }
  if (logits[best] === -Infinity) throw unusable('all are -Infinity', reason)
  return best
}

function unusable(what: string, reason: string): RoutedAttentionError {
  return new RoutedAttentionError('NUMERIC', `the logits define no distribution to choose a token from: ${what}; ${reason}`)
}
