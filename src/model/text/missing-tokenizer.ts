import { RoutedAttentionError } from '../../errors.js'
import type { Tokenizer } from '../../io/tokenizer.js'

/**
 * The error thrown when a model without a tokenizer is asked to read or write text.
 * @param what the requested operation
 * @param failure why tokenizer.json could not be read, if it may exist
 */
export function noTokenizer(what: string, failure?: RoutedAttentionError): RoutedAttentionError {
  if (failure === undefined)
    return new RoutedAttentionError('UNSUPPORTED', `${what} needs a tokenizer.json, and this model has none; use token ids instead of text`)
  return new RoutedAttentionError(
    failure.code,
    `${what} needs a tokenizer.json, which could not be read when the model was loaded (${failure.message}); load the model again`,
    { cause: failure, status: failure.status },
  )
}

/** Stands in for the tokenizer of a model that has none: every method throws. */
export function createMissingTokenizer(failure?: RoutedAttentionError): Tokenizer {
  const refuse = (): never => {
    throw noTokenizer('text', failure)
  }
  return { encode: refuse, encodeStream: refuse, decode: refuse }
}
