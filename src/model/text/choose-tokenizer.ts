import { describe, RoutedAttentionError } from '../../errors.js'
import { createByteTokenizer, type ModelTokenizer } from '../../io/tokenizer.js'
import { badConfig } from '../config/config-fields.js'

/** A kind of tokenizer that needs no file: ids are the bytes of UTF-8. */
export type TokenizerKind = 'bytes'

/** @throws RoutedAttentionError `BAD_ARGUMENT` for what is no kind of tokenizer */
export function checkTokenizerKind(kind: unknown): asserts kind is TokenizerKind | undefined {
  if (kind !== undefined && kind !== 'bytes')
    throw new RoutedAttentionError('BAD_ARGUMENT', `load: tokenizer must be 'bytes', got ${describe(kind)}`)
}

/**
 * The tokenizer that the caller or config.json asks for in place of tokenizer.json.
 * @param kind the caller's option
 * @param config config.json, parsed: `"tokenizer": "bytes"`
 * @param numTokens size of the model's vocabulary
 * @returns undefined where neither asks for one
 * @throws RoutedAttentionError `BAD_CONFIG` for anything else in config.json; that or `BAD_ARGUMENT`, as who asked, for
 * fewer than 256 tokens
 */
export function chooseTokenizer(kind: TokenizerKind | undefined, config: unknown, numTokens: number): ModelTokenizer | undefined {
  const stated = (config as { tokenizer?: unknown }).tokenizer ?? undefined
  if (stated !== undefined && stated !== 'bytes')
    throw badConfig(`config.json: tokenizer must be 'bytes', or absent where there is a tokenizer.json; got ${describe(stated)}`)
  if (kind === undefined && stated === undefined) return undefined
  if (numTokens < 256) {
    const why = `asks for a token for each of 256 bytes, and num_tokens is ${numTokens}`
    throw kind === undefined
      ? badConfig(`config.json: tokenizer 'bytes' ${why}`)
      : new RoutedAttentionError('BAD_ARGUMENT', `load: tokenizer 'bytes' ${why}`)
  }
  return createByteTokenizer(numTokens)
}
