import { describe, RoutedAttentionError } from '../../errors.js'
import { createRandom } from '../../random.js'
import { isFloat32Array } from '../../realm.js'
import { LogitHeap } from './logit-heap.js'
import { CategoricalSampler } from './categorical-sampler.js'
import type { SamplingConfig } from './sampling-options.js'

/** One of the most probable tokens at a position. */
export interface TokenLogprob {
  /** Its id, below `config.numTokens`. */
  readonly id: number
  /**
   * ln p of the token under the model's own distribution: before penalties, `logitBias`, `logitsProcessor`, temperature
   * and the rest.
   */
  readonly logprob: number
}

export interface Sample extends TokenLogprob {
  /**
   * With `topLogprobs`: that many of the most probable tokens under the model's own distribution, in descending order;
   * ties go to the lower id.
   */
  readonly topLogprobs?: readonly TokenLogprob[]
}

export interface Sampler {
  /**
   * @param logits one value per token; -Infinity forbids a token
   * @param given the unadjusted logits, used for the reported probabilities; default: `logits`
   * @throws RoutedAttentionError `NUMERIC` if the logits define no distribution: NaN or +Infinity among them, or
   * nothing above -Infinity; `BAD_ARGUMENT` if they are not a Float32Array, or empty
   */
  sample(logits: Float32Array, given?: Float32Array): Sample
}

/** Returns a sampler that uses one stream of random numbers; temperature 0 draws none. */
export function createSampler(config: SamplingConfig): Sampler {
  const random = createRandom(config.seed)
  let sampler: CategoricalSampler | undefined
  let heap: LogitHeap | undefined
  return {
    sample(logits, given = logits) {
      const best = mostProbable(logits, given === logits ? UNADJUSTED : ADJUSTED)
      let id = best
      if (config.temperature > 0) {
        if (sampler?.size !== logits.length) sampler = new CategoricalSampler(config, logits.length)
        id = sampler.draw(logits, logits[best]!, random.uniform())
      }
      const largest = given[given === logits ? best : mostProbable(given)]!
      let sum = 0
      for (let i = 0; i < given.length; i++) sum += Math.exp(given[i]! - largest)
      const logSum = Math.log(sum)
      const logprobOf = (id: number) => given[id]! - largest - logSum
      const logprob = logprobOf(id)
      if (config.topLogprobs === 0) return { id, logprob }
      if (heap?.length !== given.length) heap = new LogitHeap(given.length)
      heap.fill(given)
      const topLogprobs: TokenLogprob[] = []
      for (let rank = 0; rank < Math.min(config.topLogprobs, given.length); rank++) {
        const token = heap.largest(rank)
        topLogprobs.push({ id: token, logprob: logprobOf(token) })
      }
      return { id, logprob, topLogprobs }
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
