import { describe, RoutedAttentionError } from '../../errors.js'

/** How the next token is chosen; applied in this order, after `LogitsOptions`. Omitted options have no effect. */
export interface SamplingOptions {
  /**
   * Divisor of the logits: finite, at least 0. 0 is greedy: the most probable token, ties going to the lowest id.
   * Default 1.
   */
  temperature?: number | undefined
  /** Keep only this many of the most probable tokens; an integer, at least 1. Ties go to the lower ids. */
  topK?: number | undefined
  /**
   * Nucleus sampling: keep the smallest set of most probable tokens whose probabilities, after temperature and `topK`,
   * sum to at least this; above 0, at most 1.
   */
  topP?: number | undefined
  /** Keep only tokens at least this many times as probable as the most probable one, after temperature; from 0 to 1. */
  minP?: number | undefined
  /** Any finite number; the same seed gives the same choices. If omitted, choices differ from call to call. */
  seed?: number | undefined
  /** Number of most probable tokens to report with each token; an integer, at least 0. Default 0. */
  topLogprobs?: number | undefined
}

/** Checked sampling options. */
export interface SamplingConfig {
  readonly temperature: number
  /** Infinity keeps all tokens. */
  readonly topK: number
  readonly topP: number
  readonly minP: number
  readonly seed: number | undefined
  readonly topLogprobs: number
}

/** @throws RoutedAttentionError `BAD_ARGUMENT` for an option out of range; ignores options it does not know */
export function resolveSampling(options: SamplingOptions = {}): SamplingConfig {
  const { temperature = 1, topK = Infinity, topP = 1, minP = 0, seed, topLogprobs = 0 } = options
  checkOption('temperature', temperature, Number.isFinite(temperature) && temperature >= 0, 'a finite number from 0')
  checkOption('topK', topK, options.topK === undefined || (Number.isSafeInteger(topK) && topK >= 1), 'an integer from 1')
  checkOption('topP', topP, Number.isFinite(topP) && topP > 0 && topP <= 1, 'a number above 0 and up to 1')
  checkOption('minP', minP, Number.isFinite(minP) && minP >= 0 && minP <= 1, 'a number from 0 to 1')
  checkOption('seed', seed, seed === undefined || Number.isFinite(seed), 'a finite number')
  checkOption('topLogprobs', topLogprobs, Number.isSafeInteger(topLogprobs) && topLogprobs >= 0, 'an integer from 0')
  return { temperature, topK, topP, minP, seed, topLogprobs }
}

/** @throws RoutedAttentionError `BAD_ARGUMENT` if `fits` is false */
export function checkOption(name: string, value: unknown, fits: boolean, expected: string): void {
  if (!fits) throw new RoutedAttentionError('BAD_ARGUMENT', `${name} must be ${expected}, got ${describe(value)}`)
}
