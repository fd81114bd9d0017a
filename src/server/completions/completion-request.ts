import type { LanguageModel } from '../../model/language-model.js'
import { Fields, integerBetween } from '../fields.js'
import { type GenerationFields, readGenerationFields } from '../generation-fields.js'
import { badField } from '../http-error.js'
import { checkModel } from '../information.js'
import type { Settings } from '../options.js'
import { checkPromptLength, encodePrompt } from '../prompt.js'

/** A text to continue. */
export interface Prompt {
  /** The text as it came; undefined if it came as token ids. */
  readonly text: string | undefined
  readonly ids: readonly number[]
}

/** The checked body of `POST /v1/completions`. */
export interface CompletionRequest {
  readonly prompts: readonly Prompt[]
  /** Choices for each prompt. */
  readonly n: number
  readonly generation: GenerationFields
  /** Whether each text begins with its prompt. */
  readonly echo: boolean
  /** How many of the most probable tokens to report beside the chosen one; undefined: no log-probabilities at all. */
  readonly logprobs: number | undefined
  readonly stream: boolean
  /** Whether a stream ends with the numbers of tokens. */
  readonly includeUsage: boolean
}

/** OpenAI's default. */
const DEFAULT_MAX_TOKENS = 16
const MAX_LOGPROBS = 20
/** What OpenAI's own service uses for its accounts, caches and billing. */
const IGNORED = ['user', 'metadata', 'store', 'service_tier', 'safety_identifier', 'prompt_cache_key']

/**
 * Checks a body.
 * @throws HttpError 400 that names the field, 404 for another model
 */
export async function readCompletionRequest(
  body: unknown,
  model: LanguageModel,
  { modelName, maxTokens, maxPromptTokens, maxChoices }: Settings,
  signal: AbortSignal,
): Promise<CompletionRequest> {
  const { numTokens } = model.config
  const fields = new Fields(body)
  fields.ignore(...IGNORED)
  checkModel(fields.string('model'), modelName)
  const generation = readGenerationFields(fields, { maxTokens, defaultMaxTokens: DEFAULT_MAX_TOKENS, numTokens })
  const n = fields.number('n', integerBetween(1, maxChoices)) ?? 1
  const echo = fields.boolean('echo')
  const logprobs = fields.number('logprobs', integerBetween(0, MAX_LOGPROBS))
  const stream = fields.boolean('stream')
  const streamOptions = fields.object('stream_options')
  if (streamOptions && !stream) throw badField('stream_options', 'stream_options is for requests with stream: true only')
  const includeUsage = streamOptions?.boolean('include_usage') ?? false
  streamOptions?.refuseOthers()
  const given = readPrompts(fields, numTokens)
  fields.refuseOthers()
  if (given.length * n > maxChoices)
    throw badField(given.length > 1 ? 'prompt' : 'n', `${given.length} prompts of ${n} choices are more than the ${maxChoices} allowed`)
  const prompts: Prompt[] = []
  for (const prompt of given) {
    const isText = typeof prompt === 'string'
    const ids = isText ? await encodePrompt(model, prompt, { field: 'prompt', maxTokens: maxPromptTokens, signal }) : prompt
    checkPromptLength(ids.length, 'prompt', Math.min(maxPromptTokens, model.config.maxPositions ?? Infinity))
    prompts.push({ text: isText ? prompt : undefined, ids })
  }
  return { prompts, n, generation, echo, logprobs, stream, includeUsage }
}

/** A text, token ids, or an array of either. */
function readPrompts(fields: Fields, numTokens: number): readonly (string | readonly number[])[] {
  const value = fields.get('prompt')
  if (value === undefined) throw badField('prompt', 'prompt is missing: a text, token ids, or an array of either')
  const isId = (id: unknown) => Number.isInteger(id) && (id as number) >= 0 && (id as number) < numTokens
  const isIds = (list: unknown) => Array.isArray(list) && list.length > 0 && list.every(isId)
  if (typeof value === 'string') return [value]
  if (isIds(value)) return [value as number[]]
  if (Array.isArray(value) && value.length > 0) {
    if (value.every((part) => typeof part === 'string')) return value
    if (value.every(isIds)) return value as number[][]
  }
  return fields.refuse('prompt', value, `a text, token ids from 0 to ${numTokens - 1}, or an array of either, none empty`)
}
