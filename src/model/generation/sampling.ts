import { describe, RoutedAttentionError } from '../../errors.js'
import { createRandom } from '../../random.js'
import { isFloat32Array } from '../../realm.js'
import { LogitHeap } from './logit-heap.js'
import { CategoricalSampler } from './categorical-sampler.js'
import type { SamplingConfig } from './sampling-options.js'

/** A token that was probable in a place. */
export interface TokenLogprob {
  /** Its id, below `config.numTokens`. */
  readonly id: number
  /**
   * ln p of the token, as the model has it: under the logits as they came, before penalties, `logitBias`,
   * `logitsProcessor`, temperature and the rest.
   */
  readonly logprob: number
}

export interface Sample extends TokenLogprob {
  /**
   * With `topLogprobs`: that many of the most probable tokens as the model has it, in descending order, of equals the
   * lower id first.
   */
  readonly topLogprobs?: readonly TokenLogprob[]
}

export interface Sampler {
  /**
   * @param logits to choose by, one value a token; -Infinity for a token that must not come
   * @param given the logits as they came, which probabilities are told under; default: the same
   * @throws RoutedAttentionError `NUMERIC` when the logits are no distribution: NaN or +Infinity among them, or nothing
   * above -Infinity; `BAD_ARGUMENT` when they are no Float32Array or empty
   */
  sample(logits: Float32Array, given?: Float32Array): Sample
}

/** Chooses tokens, one after the other, from one stream of random numbers; none is drawn at temperature 0. */
export function createSampler(config: SamplingConfig): Sampler {
  const random = createRandom(config.seed)
  let sampler: CategoricalSampler | undefined
  let heap: LogitHeap | undefined
  return {
    sample(logits, given = logits) {
      const best = mostProbable(logits, given === logits ? AS_THEY_CAME : AS_ADJUSTED)
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

/** What may be wrong with logits that are no distribution. */
const AS_THEY_CAME = 'the weights or the input overflow'
const AS_ADJUSTED = 'penalties, logitBias or logitsProcessor forbid every token, or made a value that is no number'

/**
 * @throws RoutedAttentionError `NUMERIC` when the logits are no distribution; `BAD_ARGUMENT` when they are none at all
 */
export function mostProbable(logits: Float32Array, reason = AS_THEY_CAME): number {
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
  return new RoutedAttentionError('NUMERIC', `the logits are no distribution to choose a token from: ${what}; ${reason}`)
}
