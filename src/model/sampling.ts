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
   * @throws RoutedAttentionError `UNSUPPORTED` when the logits are no distribution: NaN or +Infinity among them, or nothing above -Infinity;
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
export function createSampler({ temperature, topK, topP, seed }: SamplingConfig): Sampler {
  const random = createRandom(seed)

  const draw = (logits: Float32Array, largest: number): number => {
    const isWhole = topK >= logits.length && topP === 1
    const weightOf = (logit: number) => Math.exp((logit - largest) / temperature)
    const ids = isWhole ? logits.keys() : mostProbable(logits, topK, topP, weightOf)
    const candidates: number[] = []
    const cumulative: number[] = []
    let sum = 0
    for (const id of ids) {
      const weight = weightOf(logits[id]!)
      if (weight === 0) continue
      sum += weight
      candidates.push(id)
      cumulative.push(sum)
    }
    const target = random.uniform() * sum
    const index = cumulative.findIndex((value) => value > target)
    return candidates[index === -1 ? candidates.length - 1 : index]! // -1: the product rounded up to the sum
  }

  return {
    sample(logits) {
      const best = argmax(logits)
      const largest = logits[best]!
      const id = temperature === 0 ? best : draw(logits, largest)
      let sum = 0
      for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i]! - largest)
      return { id, logprob: logits[id]! - largest - Math.log(sum) }
    },
  }
}

/** The most probable tokens in descending order, as many as top-k and top-p leave. */
function mostProbable(logits: Float32Array, topK: number, topP: number, weightOf: (logit: number) => number): number[] {
  const heap = new LogitHeap(logits)
  const count = Math.min(topK, logits.length)
  const kept = count < logits.length ? Array.from({ length: count }, () => heap.pop()) : undefined
  if (kept !== undefined && topP === 1) return kept
  let total = 0
  for (const logit of kept?.map((id) => logits[id]!) ?? logits) total += weightOf(logit)
  const taken: number[] = []
  let sum = 0
  while (taken.length < count && sum < topP * total) {
    const id = kept === undefined ? heap.pop() : kept[taken.length]!
    taken.push(id)
    sum += weightOf(logits[id]!)
  }
  return taken
}

/** Token ids in a binary heap, the largest logit first and of equals the lowest id: a few are taken without sorting them all. */
class LogitHeap {
  private readonly ids: Uint32Array
  private size: number

  constructor(private readonly logits: Float32Array) {
    this.size = logits.length
    this.ids = new Uint32Array(logits.length).map((_, id) => id)
    for (let root = (this.size >> 1) - 1; root >= 0; root--) this.sink(root)
  }

  pop(): number {
    const first = this.ids[0]!
    this.ids[0] = this.ids[--this.size]!
    this.sink(0)
    return first
  }

  private sink(place: number): void {
    const { ids } = this
    const id = ids[place]!
    for (;;) {
      let child = 2 * place + 1
      if (child >= this.size) break
      if (child + 1 < this.size && this.comesBefore(ids[child + 1]!, ids[child]!)) child++
      if (!this.comesBefore(ids[child]!, id)) break
      ids[place] = ids[child]!
      place = child
    }
    ids[place] = id
  }

  private comesBefore(a: number, b: number): boolean {
    const [first, second] = [this.logits[a]!, this.logits[b]!]
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
    'UNSUPPORTED',
    `the logits are no distribution to choose a token from: ${why}; the weights or the input overflow`,
  )
}

function check(name: string, value: unknown, fits: boolean, expected: string): void {
  if (!fits) throw new RoutedAttentionError('BAD_ARGUMENT', `${name} must be ${expected}, got ${describe(value)}`)
}
