import { RoutedAttentionError } from '../errors.js'
import type { Tokenizer } from '../io/tokenizer.js'

function refuse(): never {
  throw new RoutedAttentionError('UNSUPPORTED', 'this model came without a tokenizer.json; pass and take token ids instead of text')
}

/** In the place of a tokenizer that a model does not have. */
export const missingTokenizer: Pick<Tokenizer, 'encode' | 'decode'> = { encode: refuse, decode: refuse }
