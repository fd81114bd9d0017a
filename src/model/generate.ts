import { describe, RoutedAttentionError } from '../errors.js'
import { checkOptions } from '../options.js'
import type { Signal } from '../platform.js'
import type { Tokenizer } from '../io/tokenizer.js'
import { resolveSampling, type SamplingOptions } from './sampling-options.js'
import { createSampler, type Sampler } from './sampling.js'
import type { Session } from './session.js'
import { createTextStream } from './text-stream.js'
import { noTokenizer } from './missing-tokenizer.js'
import { checkTokenIds, type TokenIds } from './token-ids.js'

/** Options of `LanguageModel.generate`. */
export interface GenerateOptions extends SamplingOptions {
  /** Most tokens to make; default 256. With `max_positions`, prompt and continuation together are never longer than that. */
  maxTokens?: number | undefined
  /** Texts at which to stop; they are not given out, and may begin in one token and end in another. */
  stop?: string | readonly string[] | undefined
  signal?: Signal | undefined
}

export interface GeneratedToken {
  readonly id: number
  /**
   * Text that is certain with this token: whole characters, and nothing that may yet become a stop text. Empty without a tokenizer.
   */
  readonly text: string
  /** ln p of the token, as the model has it: before temperature, top-k and top-p. */
  readonly logprob: number
}

const DEFAULT_MAX_TOKENS = 256

const GENERATE_OPTIONS = ['maxTokens', 'temperature', 'topK', 'topP', 'seed', 'stop', 'signal']

interface Generator {
  readonly numTokens: number
  readonly maxPositions: number | null
  readonly tokenizer: Tokenizer | undefined
  /** Why there is no tokenizer, where tokenizer.json may be there. */
  readonly tokenizerFailure?: RoutedAttentionError | undefined
}

function resolveStop(stop: unknown, { tokenizer, tokenizerFailure }: Generator): readonly string[] {
  if (stop === undefined) return []
  const stops: unknown[] = typeof stop === 'string' ? [stop] : Array.isArray(stop) ? [...(stop as unknown[])] : [undefined]
  if (!stops.every((text): text is string => typeof text === 'string' && text !== '')) {
    throw new RoutedAttentionError('BAD_ARGUMENT', `generate: stop must be a text, or an array of them, none empty; got ${describe(stop)}`)
  }
  if (stops.length > 0 && !tokenizer) throw noTokenizer('generate: stop', tokenizerFailure)
  return stops
}

/** What a generation is asked for, checked. */
interface Generation {
  readonly ids: Int32Array
  readonly maxTokens: number
  readonly sampler: Sampler
  readonly stops: readonly string[]
  readonly signal: AbortSignal | undefined
}

function resolveGeneration(generator: Generator, prompt: string | TokenIds, options: GenerateOptions): Generation {
  checkOptions('generate', options, GENERATE_OPTIONS)
  const { numTokens, maxPositions, tokenizer } = generator
  const { maxTokens = DEFAULT_MAX_TOKENS, stop, signal, temperature, topK, topP, seed } = options
  if (maxTokens !== Infinity && !(Number.isSafeInteger(maxTokens) && maxTokens >= 0)) {
    throw new RoutedAttentionError('BAD_ARGUMENT', `generate: maxTokens must be an integer from 0, or Infinity, got ${describe(maxTokens)}`)
  }
  const sampler = createSampler(resolveSampling({ temperature, topK, topP, seed }))
  const stops = resolveStop(stop, generator)
  if (typeof prompt === 'string' && !tokenizer) throw noTokenizer('generate: a text prompt', generator.tokenizerFailure)
  const ids = typeof prompt === 'string' ? Int32Array.from(tokenizer!.encode(prompt)) : checkTokenIds('generate', prompt, numTokens)
  if (ids.length === 0) throw new RoutedAttentionError('BAD_ARGUMENT', 'generate: the prompt must hold at least one token')
  if (maxPositions !== null && ids.length > maxPositions) {
    throw new RoutedAttentionError(
      'BAD_ARGUMENT',
      `generate: a prompt of ${ids.length} tokens is longer than the ${maxPositions} positions (max_positions) of this model`,
    )
  }
  const room = maxPositions === null ? Infinity : maxPositions - ids.length
  return { ids, maxTokens: Math.min(maxTokens, room), sampler, stops, signal }
}

/**
 * Continues `prompt` in a session of its own. Arguments are read at the call, since their owner may change them before the first `next()`; what is
 * wrong with them comes out there.
 */
export function generate(
  generator: Generator,
  createSession: () => Promise<Session>,
  prompt: string | TokenIds,
  options: GenerateOptions,
): AsyncGenerator<GeneratedToken, void, undefined> {
  let generation: () => Generation
  try {
    const resolved = resolveGeneration(generator, prompt, options)
    generation = () => resolved
  } catch (error) {
    generation = () => {
      throw error
    }
  }
  return run(generator, createSession, generation)
}

async function* run(
  { tokenizer }: Generator,
  createSession: () => Promise<Session>,
  generation: () => Generation,
): AsyncGenerator<GeneratedToken, void, undefined> {
  const { ids, maxTokens, sampler, stops, signal } = generation()
  signal?.throwIfAborted()

  const session = await createSession()
  try {
    const text = tokenizer && createTextStream(tokenizer, stops, ids)
    const last = [0]
    const request = { signal }
    let next: TokenIds = ids
    for (let made = 1; made <= maxTokens; made++) {
      const logits = await session.append(next, request)
      signal?.throwIfAborted()
      const { id, logprob } = sampler.sample(logits)
      const isLast = made === maxTokens
      let certain = text?.push(id) ?? ''
      if (text && !text.isFinished && isLast) certain += text.flush()
      yield { id, text: certain, logprob }
      signal?.throwIfAborted()
      if (isLast || text?.isFinished) return
      last[0] = id
      next = last
    }
  } finally {
    session.dispose()
  }
}
