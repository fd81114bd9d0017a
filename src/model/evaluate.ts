import { describe, RoutedAttentionError } from '../errors.js'
import { checkFunction, checkOptions, namesOf } from '../options.js'
import type { Signal } from '../platform.js'
import { surprisalOf } from './surprisal.js'

/** Progress of an evaluation. */
export interface EvaluateProgress {
  /** Identifies the kind of progress event. */
  readonly type: 'evaluate'
  /** Tokens predicted so far. */
  readonly done: number
  /** Tokens to predict: all but the first. */
  readonly total: number
}

/** Options of `model.evaluate`. */
export interface EvaluateOptions {
  /**
   * Number of tokens per chunk; each chunk starts with an empty context. Default 2048, or `max_positions` if that is
   * smaller.
   */
  chunk?: number | undefined
  /** Called after each chunk; anything it throws rejects the call. */
  onProgress?: ((progress: EvaluateProgress) => void) | undefined
  /**
   * Called after each chunk, before `onProgress`, with the surprisal -log2 p of its tokens: `bits[i]` belongs to token
   * `start` + i. The first token has none, so the first `start` is 1. Anything it throws rejects the call.
   */
  onBits?: ((bits: Float32Array, start: number) => void) | undefined
  /** Aborting it rejects the call with its reason. */
  signal?: Signal | undefined
}

/** Result of `model.evaluate`. */
export interface Evaluation {
  /** Mean of -log2 p, in bits; NaN if nothing was predicted. */
  readonly bitsPerToken: number
  /** Number of tokens predicted. */
  readonly tokens: number
}

const DEFAULT_CHUNK = 2048

const EVALUATE_OPTIONS = namesOf<EvaluateOptions>({ chunk: true, onProgress: true, onBits: true, signal: true })

/**
 * Chunk i reads tokens from i·chunk on, with an empty context, and predicts those from i·chunk + 1 on.
 * @param predict returns ln p of each target after the tokens of a chunk
 */
export async function evaluate(
  ids: Int32Array,
  options: EvaluateOptions,
  maxPositions: number | null,
  predict: (chunk: Int32Array, targets: Int32Array) => Promise<Float64Array>,
): Promise<Evaluation> {
  checkOptions('evaluate', options, EVALUATE_OPTIONS)
  const { chunk = Math.min(DEFAULT_CHUNK, maxPositions ?? Infinity), onProgress, onBits, signal } = options
  checkFunction('evaluate', 'onBits', onBits)
  if (!Number.isSafeInteger(chunk) || chunk < 1 || chunk > (maxPositions ?? Infinity)) {
    const most = maxPositions === null ? '' : ` up to the ${maxPositions} positions (max_positions) of this model`
    throw new RoutedAttentionError('BAD_ARGUMENT', `evaluate: chunk must be an integer from 1${most}, got ${describe(chunk)}`)
  }
  signal?.throwIfAborted()
  const total = Math.max(0, ids.length - 1)
  let sum = 0
  for (let start = 0; start < total; start += chunk) {
    const end = Math.min(start + chunk, total)
    const logProbabilities = await predict(ids.subarray(start, end), ids.subarray(start + 1, end + 1))
    for (const logProbability of logProbabilities) sum += logProbability
    signal?.throwIfAborted()
    onBits?.(Float32Array.from(logProbabilities, surprisalOf), start + 1)
    signal?.throwIfAborted()
    onProgress?.({ type: 'evaluate', done: end, total })
    signal?.throwIfAborted()
  }
  return { bitsPerToken: -sum / Math.LN2 / total, tokens: total }
}
