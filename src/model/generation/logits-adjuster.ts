import { describe, RoutedAttentionError } from '../../errors.js'
import { checkFunction } from '../../options.js'
import { isMap } from '../../realm.js'
import { checkOption } from './sampling-options.js'

/** Adjustments to the logits before a token is chosen, in this order; omitted options have no effect. */
export interface LogitsOptions {
  /**
   * Divides the positive logits of tokens that occur in the prompt or the continuation and multiplies the negative
   * ones: above 0, finite; values above 1 discourage repetition. Default 1. Keskar et al. 2019 (CTRL), as implemented
   * in Hugging Face transformers.
   */
  repetitionPenalty?: number | undefined
  /**
   * Subtracted from a token's logit once per occurrence in the continuation; finite. Default 0. Same as OpenAI's and
   * vLLM's.
   */
  frequencyPenalty?: number | undefined
  /** Subtracted once from the logit of each token that occurs in the continuation; finite. Default 0. */
  presencePenalty?: number | undefined
  /** Added to the logits of these tokens, by id; -Infinity forbids a token. */
  logitBias?: Readonly<Record<number, number>> | ReadonlyMap<number, number> | undefined
  /**
   * Called with a copy of the logits, [V], which it may modify; -Infinity forbids a token. A returned promise is
   * awaited, until the signal aborts or the model is disposed of; anything it throws rejects `next()`.
   * @param ids this call's prompt and output so far: the same array each time, with the new token appended
   */
  logitsProcessor?: ((logits: Float32Array, ids: readonly number[]) => void | Promise<void>) | undefined
}

/** Checked logits options; undefined if none has an effect. */
export interface LogitsConfig {
  readonly repetitionPenalty: number
  readonly frequencyPenalty: number
  readonly presencePenalty: number
  readonly bias: readonly (readonly [id: number, value: number])[]
  readonly processor: NonNullable<LogitsOptions['logitsProcessor']> | undefined
}

/** @throws RoutedAttentionError `BAD_ARGUMENT` for an option out of range; ignores options it does not know */
export function resolveLogits(call: string, options: LogitsOptions, numTokens: number): LogitsConfig | undefined {
  const { repetitionPenalty = 1, frequencyPenalty = 0, presencePenalty = 0, logitBias, logitsProcessor: processor } = options
  checkOption(
    'repetitionPenalty',
    repetitionPenalty,
    Number.isFinite(repetitionPenalty) && repetitionPenalty > 0,
    'a finite number above 0',
  )
  checkOption('frequencyPenalty', frequencyPenalty, Number.isFinite(frequencyPenalty), 'a finite number')
  checkOption('presencePenalty', presencePenalty, Number.isFinite(presencePenalty), 'a finite number')
  checkFunction(call, 'logitsProcessor', processor)
  const bias = logitBias === undefined ? [] : checkBias(call, logitBias, numTokens)
  const isIdle = repetitionPenalty === 1 && frequencyPenalty === 0 && presencePenalty === 0 && bias.length === 0 && !processor
  return isIdle ? undefined : { repetitionPenalty, frequencyPenalty, presencePenalty, bias, processor }
}

function checkBias(call: string, bias: unknown, numTokens: number): LogitsConfig['bias'] {
  const refuse = (expected: string, came: unknown) =>
    new RoutedAttentionError('BAD_ARGUMENT', `${call}: logitBias must ${expected}, got ${describe(came)}`)
  // excludes Sets, arrays and Dates, whose keys are meaningless here
  const isRecord = Object.prototype.toString.call(bias) === '[object Object]'
  if (!isRecord && !isMap(bias)) throw refuse('be a Map or a record of numbers by token id', bias)
  // the keys of a record are strings
  const entries: [unknown, unknown][] = isMap(bias)
    ? [...bias]
    : Object.entries(bias as object).map(([key, value]) => [/^(0|[1-9]\d*)$/.test(key) ? Number(key) : key, value])
  return entries.map(([id, value]) => {
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= numTokens)
      throw refuse(`name tokens by integers from 0 to ${numTokens - 1}`, id)
    if (typeof value !== 'number' || !(value < Infinity))
      throw refuse(`hold numbers, finite or -Infinity; token ${String(id)} is a fault`, value)
    return [id as number, value]
  })
}

/** Applies the logits options, token after token. */
export class LogitsAdjuster {
  readonly #config: LogitsConfig
  readonly #ids: number[]
  /**
   * Number of occurrences of each token in the continuation; 0 for those only in the prompt. Empty if no penalty is
   * set.
   */
  readonly #counts = new Map<number, number>()
  readonly #counting: boolean

  /** @param prompt also counted by `repetitionPenalty` */
  constructor(config: LogitsConfig, prompt: ArrayLike<number>) {
    this.#config = config
    this.#counting = config.repetitionPenalty !== 1 || config.frequencyPenalty !== 0 || config.presencePenalty !== 0
    this.#ids = config.processor ? Array.from(prompt) : []
    if (this.#counting) for (let i = 0; i < prompt.length; i++) this.#counts.set(prompt[i]!, 0)
  }

  /** Records the next token of the continuation. */
  took(id: number): void {
    if (this.#config.processor) this.#ids.push(id)
    if (this.#counting) this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1)
  }

  /** Modifies the logits in place. */
  adjust(logits: Float32Array): void | Promise<void> {
    const { repetitionPenalty, frequencyPenalty, presencePenalty, bias, processor } = this.#config
    this.#counts.forEach((count, id) => {
      const logit = logits[id]!
      // transformers, RepetitionPenaltyLogitsProcessor: score < 0 ? score * penalty : score / penalty
      const rarer = logit < 0 ? logit * repetitionPenalty : logit / repetitionPenalty
      // vLLM, apply_penalties: logits -= frequency * count; logits -= presence * (count > 0), over the output
      logits[id] = rarer - frequencyPenalty * count - (count > 0 ? presencePenalty : 0)
    })
    for (const [id, value] of bias) logits[id]! += value
    return processor?.(logits, this.#ids)
  }
}
