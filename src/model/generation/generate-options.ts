import { describe, RoutedAttentionError } from '../../errors.js'
import type { ModelTokenizer } from '../../io/tokenizer.js'
import { checkOptions, namesOf } from '../../options.js'
import type { Signal } from '../../platform.js'
import { type LogitsConfig, type LogitsOptions, resolveLogits } from './logits-adjuster.js'
import { noTokenizer } from '../text/missing-tokenizer.js'
import { resolveSampling, type SamplingConfig, type SamplingOptions } from './sampling-options.js'
import { checkTokenIds, type TokenIds } from '../text/token-ids.js'

/** Progress of reading the prompt. */
export interface PromptProgress {
  /** Identifies the kind of progress event. */
  readonly type: 'prompt'
  /** Prompt tokens read so far. */
  readonly done: number
  /** Prompt tokens in total. */
  readonly total: number
}

/**
 * Options of `model.generate`, `session.generate` and `model.complete`. They are applied to the logits in this order:
 * penalties, `logitBias`, `logitsProcessor`, `temperature`, `topK`, `topP`, `minP`.
 */
export interface GenerateOptions extends LogitsOptions, SamplingOptions {
  /** Maximum number of tokens to generate; default 256. `max_positions` also limits the length of the sequence. */
  maxTokens?: number | undefined
  /** Texts that end the generation. They are not part of the output, and may span several tokens. */
  stop?: string | readonly string[] | undefined
  /**
   * Tokens that end the generation, in addition to the model's end-of-text tokens; such a token is yielded with empty
   * text.
   */
  stopTokenIds?: TokenIds | undefined
  /** Treat the model's end-of-text tokens (`model.eosTokenIds`) like any other; default false. */
  ignoreEos?: boolean | undefined
  /**
   * Tokens read before this call that `repetitionPenalty` and `logitsProcessor` take for part of its prompt, such as the
   * prompt of a session that was cloned or came from a cache; default none.
   */
  earlierIds?: TokenIds | undefined
  /**
   * Tokens that the same generation wrote before it was interrupted; default none. They are read behind the prompt, many at
   * once, and count as written: for `maxTokens`, penalties, `logitsProcessor`, stop texts and the random numbers that `seed`
   * gives. They are not yielded again; what follows is what would have followed.
   */
  writtenIds?: TokenIds | undefined
  /** Aborting it rejects `next()` with its reason. */
  signal?: Signal | undefined
  /** Called while the prompt is read; anything it throws rejects `next()`. */
  onProgress?: ((progress: PromptProgress) => void) | undefined
}

/** The model, as a generation sees it. */
export interface GenerationModel {
  readonly numTokens: number
  readonly maxPositions: number | null
  readonly tokenizer: ModelTokenizer | undefined
  /** Why the tokenizer could not be loaded, if tokenizer.json may exist. */
  readonly tokenizerFailure: RoutedAttentionError | undefined
  readonly eosTokenIds: readonly number[]
}

/** The checked arguments of a generation. */
export interface Generation {
  readonly numTokens: number
  readonly tokenizer: ModelTokenizer | undefined
  readonly ids: Int32Array
  readonly earlierIds: Int32Array
  readonly writtenIds: Int32Array
  readonly maxTokens: number
  readonly maxPositions: number | null
  readonly sampling: SamplingConfig
  readonly logits: LogitsConfig | undefined
  readonly stops: readonly string[]
  readonly stopIds: ReadonlySet<number>
  readonly signal: Signal | undefined
  readonly onProgress: GenerateOptions['onProgress']
}

const DEFAULT_MAX_TOKENS = 256

const GENERATE_OPTIONS = namesOf<GenerateOptions>({
  maxTokens: true,
  temperature: true,
  topK: true,
  topP: true,
  minP: true,
  seed: true,
  repetitionPenalty: true,
  frequencyPenalty: true,
  presencePenalty: true,
  logitBias: true,
  logitsProcessor: true,
  stop: true,
  stopTokenIds: true,
  ignoreEos: true,
  earlierIds: true,
  writtenIds: true,
  topLogprobs: true,
  signal: true,
  onProgress: true,
})

/**
 * Checks all arguments and copies them, since the caller may change them later.
 * @param call name of the call, for messages
 * @param prompt null: continue the sequence as it is
 * @param position number of tokens before the prompt
 * @throws RoutedAttentionError `BAD_ARGUMENT`, `UNSUPPORTED` (text without a tokenizer), or the error that prevented
 * tokenizer.json from loading
 */
export function resolveGeneration(
  call: string,
  generator: GenerationModel,
  prompt: string | TokenIds | null,
  options: GenerateOptions,
  position = 0,
): Generation {
  checkOptions(call, options, GENERATE_OPTIONS)
  const { numTokens, maxPositions, tokenizer, eosTokenIds } = generator
  const { maxTokens = DEFAULT_MAX_TOKENS, stop, stopTokenIds = [], ignoreEos = false, signal, onProgress } = options
  const earlierIds = checkTokenIds(`${call}: earlierIds`, options.earlierIds ?? [], numTokens)
  const writtenIds = checkTokenIds(`${call}: writtenIds`, options.writtenIds ?? [], numTokens)
  if (maxTokens !== Infinity && !(Number.isSafeInteger(maxTokens) && maxTokens >= 0)) {
    throw new RoutedAttentionError('BAD_ARGUMENT', `${call}: maxTokens must be an integer from 0, or Infinity, got ${describe(maxTokens)}`)
  }
  if (typeof ignoreEos !== 'boolean') {
    throw new RoutedAttentionError('BAD_ARGUMENT', `${call}: ignoreEos must be a boolean, got ${describe(ignoreEos)}`)
  }
  const sampling = resolveSampling(options)
  const logits = resolveLogits(call, options, numTokens)
  const stops = resolveStop(call, stop, generator)
  const stopIds = new Set(checkTokenIds(`${call}: stopTokenIds`, stopTokenIds, numTokens))
  if (!ignoreEos) for (const id of eosTokenIds) stopIds.add(id)
  const ids = resolvePrompt(call, prompt, generator)
  const readCount = ids.length + writtenIds.length
  if (maxPositions !== null && position + readCount > maxPositions) {
    const where = position === 0 ? '' : ` at position ${position}`
    throw new RoutedAttentionError(
      'BAD_ARGUMENT',
      `${call}: a prompt of ${readCount} tokens${where} exceeds the ${maxPositions} positions (max_positions) of this model`,
    )
  }
  const read = { ids, earlierIds, writtenIds }
  return { numTokens, tokenizer, ...read, maxTokens, maxPositions, sampling, logits, stops, stopIds, signal, onProgress }
}

function resolvePrompt(call: string, prompt: string | TokenIds | null, generator: GenerationModel): Int32Array {
  const { tokenizer, tokenizerFailure, numTokens } = generator
  if (prompt === null) return new Int32Array(0)
  if (typeof prompt === 'string' && !tokenizer) throw noTokenizer(`${call}: a text prompt`, tokenizerFailure)
  // added tokens of tokenizer.json may lie beyond the model's vocabulary
  const ids = checkTokenIds(call, typeof prompt === 'string' ? tokenizer!.encode(prompt) : prompt, numTokens)
  if (ids.length === 0) throw new RoutedAttentionError('BAD_ARGUMENT', `${call}: the prompt must hold at least one token`)
  return ids
}

function resolveStop(call: string, stop: unknown, { tokenizer, tokenizerFailure }: GenerationModel): readonly string[] {
  if (stop === undefined) return []
  const stops: unknown[] = typeof stop === 'string' ? [stop] : Array.isArray(stop) ? [...(stop as unknown[])] : [undefined]
  if (!stops.every((text): text is string => typeof text === 'string' && text !== '' && !/[\ud800-\udfff]/u.test(text))) {
    throw new RoutedAttentionError(
      'BAD_ARGUMENT',
      `${call}: stop must be a text, or an array of them, none empty and all well-formed; got ${describe(stop)}`,
    )
  }
  if (stops.length > 0 && !tokenizer) throw noTokenizer(`${call}: stop`, tokenizerFailure)
  return stops
}
