import { describe } from '../errors.js'
import type { GenerateOptions } from '../model/generation/generate-options.js'
import { type Fields, integerBetween, type Rule } from './fields.js'

/** The options of a generation that a body may hold, checked; what it lacks is undefined. */
export type GenerationFields = Pick<
  GenerateOptions,
  | 'temperature'
  | 'topP'
  | 'topK'
  | 'minP'
  | 'seed'
  | 'stop'
  | 'repetitionPenalty'
  | 'frequencyPenalty'
  | 'presencePenalty'
  | 'logitBias'
  | 'ignoreEos'
> & { readonly maxTokens: number }

const finite: Rule = { expected: 'a number', fits: (value) => Number.isFinite(value) }
const fromZero: Rule = { expected: 'a number from 0', fits: (value) => Number.isFinite(value) && value >= 0 }
const aboveZero: Rule = { expected: 'a number above 0', fits: (value) => Number.isFinite(value) && value > 0 }
const share: Rule = { expected: 'a number from 0 to 1', fits: (value) => value >= 0 && value <= 1 }
const nucleus: Rule = { expected: 'a number above 0 and up to 1', fits: (value) => value > 0 && value <= 1 }

/** A tenth of what a seed may be leaves room for a choice's number. */
const MAX_SEED = 2 ** 53 - 2 ** 20
/** Tokens that a bias may name, and stop texts; both are searched for each token. */
const MAX_BIASES = 1024
const MAX_STOPS = 16

/**
 * Reads the options of a generation, under OpenAI's names and those that other servers have beside them.
 * @param maxTokens what is allowed
 * @param defaultMaxTokens what an absent `max_tokens` means
 * @throws HttpError 400 that names the field
 */
export function readGenerationFields(
  fields: Fields,
  { maxTokens, defaultMaxTokens, numTokens }: { maxTokens: number; defaultMaxTokens: number; numTokens: number },
): GenerationFields {
  return {
    maxTokens: fields.number('max_tokens', integerBetween(0, maxTokens)) ?? Math.min(defaultMaxTokens, maxTokens),
    temperature: fields.number('temperature', fromZero),
    topP: fields.number('top_p', nucleus),
    topK: fields.number('top_k', integerBetween(1, Number.MAX_SAFE_INTEGER)),
    minP: fields.number('min_p', share),
    seed: fields.number('seed', integerBetween(-MAX_SEED, MAX_SEED)),
    stop: readStop(fields),
    repetitionPenalty: fields.number('repetition_penalty', aboveZero),
    frequencyPenalty: fields.number('frequency_penalty', finite),
    presencePenalty: fields.number('presence_penalty', finite),
    logitBias: readLogitBias(fields, numTokens),
    ignoreEos: fields.boolean('ignore_eos'),
  }
}

function readStop(fields: Fields): readonly string[] {
  const value = fields.get('stop') ?? []
  const stops: unknown[] = Array.isArray(value) ? value : [value]
  const isStop = (text: unknown) => typeof text === 'string' && text !== '' && !/[\ud800-\udfff]/u.test(text)
  if (!stops.every(isStop)) fields.refuse('stop', value, 'a text or an array of texts, none empty and all well-formed')
  if (stops.length > MAX_STOPS) fields.refuse('stop', value, `at most ${MAX_STOPS} texts`)
  return stops as string[]
}

function readLogitBias(fields: Fields, numTokens: number): ReadonlyMap<number, number> | undefined {
  const value = fields.get('logit_bias')
  if (value === undefined) return undefined
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return fields.refuse('logit_bias', value, 'an object of numbers by token id')
  const entries = Object.entries(value)
  if (entries.length > MAX_BIASES) fields.refuse('logit_bias', entries, `an object of at most ${MAX_BIASES} numbers`)
  return new Map(
    entries.map(([id, bias]: [string, unknown]) => {
      if (!/^(0|[1-9]\d*)$/.test(id) || Number(id) >= numTokens)
        fields.refuse('logit_bias', id, `an object whose keys are token ids from 0 to ${numTokens - 1}`)
      if (typeof bias !== 'number' || !Number.isFinite(bias))
        fields.refuse('logit_bias', bias, `an object of finite numbers; ${describe(id)} is a fault`)
      return [Number(id), bias]
    }),
  )
}
