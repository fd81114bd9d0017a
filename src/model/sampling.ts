import { describe, RoutedAttentionError } from '../errors.js'
import { createRandom } from '../random.js'

/** How a next token is chosen; absent options have no effect. */
export interface SamplingOptions {
  /** What logits are divided by: from 0, finite; 0 takes the most probable token, and of equals the lowest id. Default 1. */
  temperature?: number | undefined
  /** Choose among this many of the most probable tokens; an integer from 1. Of equals the lower ids stay. */
  topK?: number | undefined
  /** Choose among the fewest most probable tokens whose probabilities, at this temperature and after `topK`, sum to this; above 0, up to 1. */
  topP?: number | undefined
  /** Any finite number; the same seed gives the same choices. Left out, new ones each time. */
  seed?: number | undefined
}

/** Sampling options, checked. */
export interface SamplingConfig {
  readonly temperature: number
  /** Infinity: all tokens. */
  readonly topK: number
  readonly topP: number
  readonly seed: number | undefined
}

export interface Sample {
  readonly id: number
  /** Natural logarithm of the token's probability under the logits as they came: at temperature 1, without `topK` and `topP`. */
  readonly logprob: number
}

export interface Sampler {
  /**
   * @param logits one value a token; -Infinity for a token that must not come
   * @throws RoutedAttentionError `NUMERIC` when the logits are no distribution: NaN or +Infinity among them, or nothing above -Infinity;
   *   `BAD_ARGUMENT` when they are no Float32Array or empty
   */
  sample(logits: Float32Array): Sample
}

/** @throws RoutedAttentionError `BAD_ARGUMENT` for an option out of range; options unknown here are left to others */
export function resolveSampling(options: SamplingOptions = {}): SamplingConfig {
  if (typeof options !== 'object' || (options as unknown) === null) {
    throw new RoutedAttentionError('BAD_ARGUMENT', `sampling options must be an object, got ${describe(options)}`)
  }
  const { temperature = 1, topK = Infinity, topP = 1, seed } = options
  check('temperature', temperature, Number.isFinite(temperature) && temperature >= 0, 'a finite number from 0')
  check('topK', topK, options.topK === undefined || (Number.isSafeInteger(topK) && topK >= 1), 'an integer from 1')
  check('topP', topP, Number.isFinite(topP) && topP > 0 && topP <= 1, 'a number above 0 and up to 1')
  check('seed', seed, seed === undefined || Number.isFinite(seed), 'a finite number')
  return { temperature, topK, topP, seed }
}

/** Chooses tokens, one after the other, from one stream of random numbers; none is drawn at temperature 0. */
export function createSampler(config: SamplingConfig): Sampler {
  const random = createRandom(config.seed)
  let lottery: Lottery | undefined
  return {
    sample(logits) {
      const best = argmax(logits)
      const largest = logits[best]!
      let id = best
      if (config.temperature > 0) {
        if (lottery?.size !== logits.length) lottery = new Lottery(config, logits.length)
        id = lottery.draw(logits, largest, random.uniform())
      }
      let sum = 0
      for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i]! - largest)
      return { id, logprob: logits[id]! - largest - Math.log(sum) }
    },
  }
}

/** Draws one of so many tokens by their weights, in memory that serves one draw after the other. */
class Lottery {
  readonly size: number
  readonly #temperature: number
  readonly #topK: number
  readonly #topP: number
  readonly #heap: LogitHeap
  /** The tokens drawn among, and the sums of their weights up to each. */
  readonly #ids: Uint32Array
  readonly #sums: Float64Array
  #count = 0
  #sum = 0

  constructor({ temperature, topK, topP }: SamplingConfig, size: number) {
    this.size = size
    this.#temperature = temperature
    this.#topK = Math.min(topK, size)
    this.#topP = topP
    this.#heap = new LogitHeap(size)
    this.#ids = new Uint32Array(size)
    this.#sums = new Float64Array(size)
  }

  /** @param uniform a random number in [0, 1) */
  draw(logits: Float32Array, largest: number, uniform: number): number {
    this.#count = 0
    this.#sum = 0
    if (this.#topK === this.size && this.#topP === 1) {
      for (let id = 0; id < this.size; id++) this.#admit(id, this.#weight(logits[id]!, largest))
    } else this.#admitMostProbable(logits, largest)
    const target = uniform * this.#sum
    let index = 0
    // the product may be rounded up to the sum
    while (index < this.#count - 1 && this.#sums[index]! <= target) index++
    return this.#ids[index]!
  }

  #weight(logit: number, largest: number): number {
    return Math.exp((logit - largest) / this.#temperature)
  }

  #admit(id: number, weight: number): void {
    if (weight === 0) return
    this.#sum += weight
    this.#ids[this.#count] = id
    this.#sums[this.#count++] = this.#sum
  }

  /** In descending order, as many as top-k and top-p leave. */
  #admitMostProbable(logits: Float32Array, largest: number): void {
    const heap = this.#heap
    heap.fill(logits)
    let total = 0
    if (this.#topK < this.size) {
      for (let i = 0; i < this.#topK; i++) total += this.#weight(logits[heap.largest(i)]!, largest)
    } else {
      for (let id = 0; id < this.size; id++) total += this.#weight(logits[id]!, largest)
    }
    const enough = this.#topP === 1 ? Infinity : this.#topP * total
    for (let i = 0; i < this.#topK && this.#sum < enough; i++) {
      const id = heap.largest(i)
      this.#admit(id, this.#weight(logits[id]!, largest))
    }
  }
}

/** Token ids in a binary heap, the largest logit first and of equals the lowest id: a few are taken without sorting them all. */
class LogitHeap {
  /** The heap, and behind it those taken, the first last. */
  readonly #ids: Uint32Array
  #logits: Float32Array = new Float32Array(0)
  #size = 0

  constructor(length: number) {
    this.#ids = new Uint32Array(length)
  }

  fill(logits: Float32Array): void {
    this.#logits = logits
    this.#size = logits.length
    for (let id = 0; id < this.#size; id++) this.#ids[id] = id
    for (let root = (this.#size >> 1) - 1; root >= 0; root--) this.#sink(root)
  }

  /** The token with so many before it. */
  largest(rank: number): number {
    const ids = this.#ids
    while (ids.length - this.#size <= rank) {
      const first = ids[0]!
      ids[0] = ids[--this.#size]!
      ids[this.#size] = first
      this.#sink(0)
    }
    return ids[ids.length - 1 - rank]!
  }

  #sink(place: number): void {
    const ids = this.#ids
    const id = ids[place]!
    for (;;) {
      let child = 2 * place + 1
      if (child >= this.#size) break
      if (child + 1 < this.#size && this.#comesBefore(ids[child + 1]!, ids[child]!)) child++
      if (!this.#comesBefore(ids[child]!, id)) break
      ids[place] = ids[child]!
      place = child
    }
    ids[place] = id
  }

  #comesBefore(a: number, b: number): boolean {
    const first = this.#logits[a]!
    const second = this.#logits[b]!
    return first > second || (first === second && a < b)
  }
}

function argmax(logits: Float32Array): number {
  if (!(logits instanceof Float32Array) || logits.length === 0) {
    throw new RoutedAttentionError('BAD_ARGUMENT', `logits must be a Float32Array of at least one value, got ${describe(logits)}`)
  }
  let best = 0
  for (let i = 0; i < logits.length; i++) {
    const logit = logits[i]!
    if (Number.isNaN(logit) || logit === Infinity) throw unusable(`token ${i} has ${logit}`)
    if (logit > logits[best]!) best = i
  }
  if (logits[best] === -Infinity) throw unusable('all are -Infinity')
  return best
}

function unusable(why: string): RoutedAttentionError {
  return new RoutedAttentionError(
    'NUMERIC',
    `the logits are no distribution to choose a token from: ${why}; the weights or the input overflow`,
  )
}

function check(name: string, value: unknown, fits: boolean, expected: string): void {
  if (!fits) throw new RoutedAttentionError('BAD_ARGUMENT', `${name} must be ${expected}, got ${describe(value)}`)
}
