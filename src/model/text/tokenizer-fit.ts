import { RoutedAttentionError } from '../../errors.js'
import { parseJson } from '../../io/json.js'
import type { ModelTokenizer } from '../../io/tokenizer.js'

/**
 * A tokenizer whose vocabulary is larger than the model's belongs to another model. Added tokens may exceed it: PyTorch
 * users add padding tokens, for example, that no model was trained with.
 * @param json tokenizer.json
 * @throws RoutedAttentionError `BAD_FILE`
 */
export function checkTokenizerFits(tokenizer: ModelTokenizer, json: Uint8Array, numTokens: number): void {
  if (tokenizer.size <= numTokens) return
  const { model, added_tokens: added } = parseJson(json, 'tokenizer.json') as TokenizerFile
  const addedIds = new Set(added?.map(({ id }) => id))
  let size = 0
  if (isList(model.vocab)) size = model.vocab.length
  else for (const id of Object.values(model.vocab)) if (!addedIds.has(id)) size = Math.max(size, id + 1)
  if (size <= numTokens) return
  throw new RoutedAttentionError(
    'BAD_FILE',
    `tokenizer.json has ${size} tokens, but the model has ${numTokens} (num_tokens in config.json): it belongs to another model. ` +
      'Use the tokenizer.json this model was trained with, or leave it out and pass token ids',
  )
}

/** A Unigram vocabulary lists its tokens in order of id. */
function isList(vocab: TokenizerFile['model']['vocab']): vocab is readonly unknown[] {
  return Array.isArray(vocab)
}

/** What has already been checked by then. */
interface TokenizerFile {
  readonly model: { readonly vocab: Readonly<Record<string, number>> | readonly unknown[] }
  readonly added_tokens?: readonly { readonly id: number }[]
}
