import { LogitHeap } from './logit-heap.js'

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

/** Reads log-probabilities from logits; buffers are reused from position to position. */
export class LogprobReader {
  readonly #count: number
  #heap: LogitHeap | undefined

  /** @param count how many of the most probable tokens are reported */
  constructor(count: number) {
    this.#count = count
  }

  /**
   * @param largest the largest of the logits, which must define a distribution (`mostProbable`)
   * @param sum of e^(logit − largest) over all logits, in their order
   */
  read(logits: Float32Array, id: number, largest: number, sum = sumOfExponentials(logits, largest)): Sample {
    const logSum = Math.log(sum)
    const logprobOf = (id: number) => logits[id]! - largest - logSum
    const logprob = logprobOf(id)
    if (this.#count === 0) return { id, logprob }
    if (this.#heap?.length !== logits.length) this.#heap = new LogitHeap(logits.length)
    this.#heap.fill(logits)
    const topLogprobs: TokenLogprob[] = []
    for (let rank = 0; rank < Math.min(this.#count, logits.length); rank++) {
      const token = this.#heap.largest(rank)
      topLogprobs.push({ id: token, logprob: logprobOf(token) })
    }
    return { id, logprob, topLogprobs }
  }
}

function sumOfExponentials(logits: Float32Array, largest: number): number {
  let sum = 0
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i]! - largest)
  return sum
}
