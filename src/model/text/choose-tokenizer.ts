import { describe, RoutedAttentionError } from '../../errors.js'
import { createByteTokenizer, type ModelTokenizer } from '../../io/tokenizer.js'
import { badConfig } from '../config/config-fields.js'

/** A kind of tokenizer that needs no file: the token ids are UTF-8 bytes. */
export type TokenizerKind = 'bytes'

/** @throws RoutedAttentionError `BAD_ARGUMENT` unless it is a kind of tokenizer or undefined */
export function checkTokenizerKind(kind: unknown): asserts kind is TokenizerKind | undefined {
  if (kind !== undefined && kind !== 'bytes')
    throw new RoutedAttentionError('BAD_ARGUMENT', `load: tokenizer must be 'bytes', got ${describe(kind)}`)
}

/**
 * The tokenizer requested by the caller or config.json instead of tokenizer.json.
 * @param kind the caller's option
 * @param config config.json, parsed: `"tokenizer": "bytes"`
 * @param numTokens size of the model's vocabulary
 * @returns undefined if neither requests one
 * @throws RoutedAttentionError `BAD_CONFIG` for any other value in config.json; for fewer than 256 tokens, `BAD_CONFIG`
 * or `BAD_ARGUMENT`, depending on which of them requested it
 */
export function chooseTokenizer(kind: TokenizerKind | undefined, config: unknown, numTokens: number): ModelTokenizer | undefined {
  const stated = (config as { tokenizer?: unknown }).tokenizer ?? undefined
  if (stated !== undefined && stated !== 'bytes')
    throw badConfig(`config.json: tokenizer must be 'bytes', or left out to use tokenizer.json; got ${describe(stated)}`)
  if (kind === undefined && stated === undefined) return undefined
  if (numTokens < 256) {
    const why = `needs a token for each of the 256 bytes, but num_tokens is ${numTokens}`
    throw kind === undefined
      ? badConfig(`config.json: tokenizer 'bytes' ${why}`)
      : new RoutedAttentionError('BAD_ARGUMENT', `load: tokenizer 'bytes' ${why}`)
  }
  return createByteTokenizer(numTokens)
}
