import { createSha256 } from '../../io/sha256.js'
import type { LanguageModel } from '../../model/language-model.js'
import { drawSeed } from '../../random.js'
import { Fields } from '../fields.js'
import { readGenerationFields } from '../generation-fields.js'
import { hexOf } from '../hex.js'
import { badField } from '../http-error.js'
import { checkModel } from '../information.js'
import type { Settings } from '../options.js'
import type { Asked } from './record.js'

/** Fields that are accepted without effect, as in completions. */
const IGNORED = ['user', 'metadata', 'store', 'service_tier', 'safety_identifier', 'prompt_cache_key']
/** Tokens of an answer, unless a turn says how many. */
const DEFAULT_MAX_TOKENS = 256

/** What a conversation may have. */
export interface Limits {
  readonly model: LanguageModel
  readonly settings: Pick<Settings, 'maxTokens' | 'maxConversationTokens'>
}

/** What the bodies of both requests are read with. */
export interface Reading extends Limits {
  readonly settings: Settings
}

/**
 * Reads the body of a turn.
 * @param defaults fields that it has unless it says otherwise
 * @param key its `Idempotency-Key`
 * @throws HttpError 400, 404 (another model); RoutedAttentionError `UNSUPPORTED` for text without a tokenizer
 */
export function readTurn(reading: Reading, body: unknown, defaults: Readonly<Record<string, unknown>>, key: string | null): Asked {
  new Fields(body) // it must be an object
  const fields = new Fields({ ...defaults, ...(body as object) })
  checkModel(fields.string('model'), reading.settings.modelName)
  const options = readOptions(reading, fields)
  if (options.maxTokens < 1) fields.refuse('max_tokens', options.maxTokens, `an integer from 1 to ${reading.settings.maxTokens}`)
  const words = readWords(reading, fields)
  fields.refuseOthers()
  return { key, asked: digest(body), ...words, options: { ...options, seed: options.seed ?? drawSeed() } }
}

/**
 * Reads the body that creates a conversation.
 * @throws as `readTurn`
 */
export function readCreation(reading: Reading, body: unknown): { defaults: Readonly<Record<string, unknown>>; first: Asked | undefined } {
  const fields = new Fields(body)
  checkModel(fields.string('model'), reading.settings.modelName)
  const options = readOptions(reading, fields)
  const words = readWords(reading, fields)
  fields.refuseOthers()
  const defaults = defaultsOf(body as object)
  const most = tokenLimit(reading)
  if (words.prompt.length >= most) throw badField('prompt', `prompt has ${words.prompt.length} tokens, and a conversation may have ${most}`)
  const first = { key: null, asked: digest(body), ...words, options: { ...options, seed: options.seed ?? drawSeed() } }
  return { defaults, first: words.prompt.length === 0 ? undefined : first }
}

/**
 * Reads fields that turns have unless they say otherwise.
 * @throws HttpError 400
 */
export function readDefaults(limits: Limits, value: unknown): Readonly<Record<string, unknown>> {
  const fields = new Fields(value, 'head.defaults.')
  readOptions(limits, fields)
  fields.refuseOthers()
  return defaultsOf(value as object)
}

/** What a body holds that is meant for later turns as well. */
function defaultsOf(body: object): Readonly<Record<string, unknown>> {
  const isDefault = (name: string) => name !== 'prompt' && name !== 'model' && !IGNORED.includes(name)
  return Object.fromEntries(Object.entries(body).filter(([name]) => isDefault(name)))
}

/** Tokens that a conversation may have. */
export function tokenLimit({ model, settings: { maxConversationTokens } }: Limits): number {
  return Math.min(model.config.maxPositions ?? Infinity, maxConversationTokens)
}

function readOptions(
  { model, settings: { maxTokens } }: Limits,
  fields: Fields,
): Omit<Asked['options'], 'seed'> & { seed?: number | undefined } {
  fields.ignore(...IGNORED)
  const { numTokens } = model.config
  const { logitBias, ...options } = readGenerationFields(fields, { maxTokens, defaultMaxTokens: DEFAULT_MAX_TOKENS, numTokens })
  // a store keeps JSON, which knows no Map
  return { ...options, logitBias: logitBias && Object.fromEntries(logitBias as ReadonlyMap<number, number>) }
}

function readWords({ model, settings: { maxPromptTokens } }: Reading, fields: Fields): Pick<Asked, 'text' | 'prompt'> {
  const { numTokens } = model.config
  const given = fields.get('prompt') ?? []
  const isId = (id: unknown) => Number.isInteger(id) && (id as number) >= 0 && (id as number) < numTokens
  if (typeof given !== 'string' && !(Array.isArray(given) && given.every(isId)))
    return fields.refuse('prompt', given, `a text, or an array of token ids from 0 to ${numTokens - 1}`)
  const prompt = typeof given === 'string' ? model.tokenizer.encode(given, { allowSpecial: false }) : (given as number[])
  if (prompt.length > maxPromptTokens) fields.refuse('prompt', given, `at most ${maxPromptTokens} tokens, and has ${prompt.length}`)
  return { text: typeof given === 'string' ? given : null, prompt }
}

/** SHA-256 of a JSON value, whatever the order of its fields. */
function digest(value: unknown): string {
  const sha256 = createSha256()
  sha256.update(new TextEncoder().encode(JSON.stringify(value, sorted)))
  return hexOf(sha256.digest())
}

function sorted(_name: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}
