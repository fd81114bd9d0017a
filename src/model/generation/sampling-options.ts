import { describe, RoutedAttentionError } from '../../errors.js'

/** How a next token is chosen, in this order; absent options have no effect. What comes before it: `LogitsOptions`. */
export interface SamplingOptions {
  /**
   * What logits are divided by: from 0, finite; 0 takes the most probable token, and of equals the lowest id. Default
   * 1.
   */
  temperature?: number | undefined
  /** Choose among this many of the most probable tokens; an integer from 1. Of equals the lower ids stay. */
  topK?: number | undefined
  /**
   * Choose among the fewest most probable tokens whose probabilities, at this temperature and after `topK`, sum to
   * this; above 0, up to 1.
   */
  topP?: number | undefined
  /**
   * Choose among the tokens that are at least this many times as probable as the most probable one, at this
   * temperature; from 0 to 1.
   */
  minP?: number | undefined
  /** Any finite number; the same seed gives the same choices. Left out, new ones each time. */
  seed?: number | undefined
  /** How many of the most probable tokens each item tells; an integer from 0. Default 0. */
  topLogprobs?: number | undefined
}

/** Sampling options, checked. */
export interface SamplingConfig {
  readonly temperature: number
  /** Infinity: all tokens. */
  readonly topK: number
  readonly topP: number
  readonly minP: number
  readonly seed: number | undefined
  readonly topLogprobs: number
}

/** @throws RoutedAttentionError `BAD_ARGUMENT` for an option out of range; options unknown here are left to others */
export function resolveSampling(options: SamplingOptions = {}): SamplingConfig {
  if (typeof options !== 'object' || (options as unknown) === null) {
    throw new RoutedAttentionError('BAD_ARGUMENT', `sampling options must be an object, got ${describe(options)}`)
  }
  const { temperature = 1, topK = Infinity, topP = 1, minP = 0, seed, topLogprobs = 0 } = options
  checkOption('temperature', temperature, Number.isFinite(temperature) && temperature >= 0, 'a finite number from 0')
  checkOption('topK', topK, options.topK === undefined || (Number.isSafeInteger(topK) && topK >= 1), 'an integer from 1')
  checkOption('topP', topP, Number.isFinite(topP) && topP > 0 && topP <= 1, 'a number above 0 and up to 1')
  checkOption('minP', minP, Number.isFinite(minP) && minP >= 0 && minP <= 1, 'a number from 0 to 1')
  checkOption('seed', seed, seed === undefined || Number.isFinite(seed), 'a finite number')
  checkOption('topLogprobs', topLogprobs, Number.isSafeInteger(topLogprobs) && topLogprobs >= 0, 'an integer from 0')
  return { temperature, topK, topP, minP, seed, topLogprobs }
}

/** @throws RoutedAttentionError `BAD_ARGUMENT` unless it fits */
export function checkOption(name: string, value: unknown, fits: boolean, expected: string): void {
  if (!fits) throw new RoutedAttentionError('BAD_ARGUMENT', `${name} must be ${expected}, got ${describe(value)}`)
}
