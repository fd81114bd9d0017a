import { RoutedAttentionError } from '../../errors.js'
import type { Tokenizer } from '../../io/tokenizer.js'

/**
 * The error for text that a model without a tokenizer is asked to read or write.
 * @param what is asked
 * @param failure why tokenizer.json could not be had, where there may be one
 */
export function noTokenizer(what: string, failure?: RoutedAttentionError): RoutedAttentionError {
  if (failure === undefined)
    return new RoutedAttentionError(
      'UNSUPPORTED',
      `${what} needs a tokenizer.json, and this model came without one; pass and take token ids instead of text`,
    )
  return new RoutedAttentionError(
    failure.code,
    `${what} needs a tokenizer.json, which could not be had when the model was loaded (${failure.message}); load the model again`,
    { cause: failure, status: failure.status },
  )
}

/** In the place of a tokenizer that a model does not have. */
export function createMissingTokenizer(failure?: RoutedAttentionError): Tokenizer {
  const refuse = (): never => {
    throw noTokenizer('text', failure)
  }
  return { encode: refuse, encodeStream: refuse, decode: refuse }
}
