import { describe, RoutedAttentionError } from '../../errors.js'
import type { ModelTokenizer } from '../../io/tokenizer.js'
import { checkOptions } from '../../options.js'
import type { Signal } from '../../platform.js'
import { type LogitsConfig, type LogitsOptions, resolveLogits } from './logits-adjuster.js'
import { noTokenizer } from '../text/missing-tokenizer.js'
import { resolveSampling, type SamplingConfig, type SamplingOptions } from './sampling-options.js'
import { checkTokenIds, type TokenIds } from '../text/token-ids.js'

/** How far the prompt has been read. */
export interface PromptProgress {
  /** Of what it is. */
  readonly type: 'prompt'
  /** Tokens of the prompt that have been read. */
  readonly done: number
  /** Tokens of the prompt. */
  readonly total: number
}

/**
 * Options of `model.generate`, `session.generate` and `model.complete`. What they do to logits comes in this order:
 * penalties, `logitBias`, `logitsProcessor`, `temperature`, `topK`, `topP`, `minP`.
 */
export interface GenerateOptions extends LogitsOptions, SamplingOptions {
  /** Most tokens to make; default 256. With `max_positions`, the sequence is never longer than that. */
  maxTokens?: number | undefined
  /** Texts at which to stop; they are not given out, and may begin in one token and end in another. */
  stop?: string | readonly string[] | undefined
  /** Tokens at which to stop, besides the model's end of text; each is an item with text ''. */
  stopTokenIds?: TokenIds | undefined
  /** Go on behind the model's end of text (`model.eosTokenIds`) as behind any token; default false. */
  ignoreEos?: boolean | undefined
  /** Its reason rejects `next()`. */
  signal?: Signal | undefined
  /** Called while the prompt is read; what it throws rejects `next()`. */
  onProgress?: ((progress: PromptProgress) => void) | undefined
}

/** What a generation needs to know of its model. */
export interface GenerationModel {
  readonly numTokens: number
  readonly maxPositions: number | null
  readonly tokenizer: ModelTokenizer | undefined
  /** Why there is no tokenizer, where tokenizer.json may be there. */
  readonly tokenizerFailure: RoutedAttentionError | undefined
  readonly eosTokenIds: readonly number[]
}

/** What a generation is asked for, checked. */
export interface Generation {
  readonly numTokens: number
  readonly tokenizer: ModelTokenizer | undefined
  readonly ids: Int32Array
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

/** Typed by the interface, so that a new option cannot be forgotten here. */
const GENERATE_OPTIONS = Object.keys({
  maxTokens: 0,
  temperature: 0,
  topK: 0,
  topP: 0,
  minP: 0,
  seed: 0,
  repetitionPenalty: 0,
  frequencyPenalty: 0,
  presencePenalty: 0,
  logitBias: 0,
  logitsProcessor: 0,
  stop: 0,
  stopTokenIds: 0,
  ignoreEos: 0,
  topLogprobs: 0,
  signal: 0,
  onProgress: 0,
} satisfies Record<keyof GenerateOptions, 0>)

/**
 * Reads all arguments, since their owner may change them later.
 * @param call its name, for messages
 * @param prompt null: the sequence goes on as it stands
 * @param position tokens before the prompt
 * @throws RoutedAttentionError `BAD_ARGUMENT`, `UNSUPPORTED` (text without a tokenizer), or what kept tokenizer.json
 * from being had
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
  if (maxPositions !== null && position + ids.length > maxPositions) {
    const behind = position === 0 ? '' : ` behind ${position}`
    throw new RoutedAttentionError(
      'BAD_ARGUMENT',
      `${call}: a prompt of ${ids.length} tokens${behind} is longer than the ${maxPositions} positions (max_positions) of this model`,
    )
  }
  return { numTokens, tokenizer, ids, maxTokens, maxPositions, sampling, logits, stops, stopIds, signal, onProgress }
}

function resolvePrompt(call: string, prompt: string | TokenIds | null, generator: GenerationModel): Int32Array {
  const { tokenizer, tokenizerFailure, numTokens } = generator
  if (prompt === null) return new Int32Array(0)
  if (typeof prompt === 'string' && !tokenizer) throw noTokenizer(`${call}: a text prompt`, tokenizerFailure)
  // added tokens of tokenizer.json may lie beyond the model's
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
