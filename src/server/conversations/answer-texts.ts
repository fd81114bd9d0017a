import type { ModelTokenizer } from '../../io/tokenizer.js'
import type { LanguageModel } from '../../model/language-model.js'
import { createTextStream } from '../../model/text/text-stream.js'
import type { Turn } from './record.js'

/**
 * The texts that the tokens of an answer made final, as they were told while it was generated.
 * @param before the tokens before the answer
 */
export function answerTexts(model: LanguageModel, before: readonly number[], { ids, options, end }: Omit<Turn, 'texts'>): string[] {
  if (!model.hasTokenizer) return ids.map(() => '')
  const stream = createTextStream(modelTokenizer(model), options.stop as readonly string[], before)
  const last = ids.at(-1)
  const isStopToken = end === 'stop' && !options.ignoreEos && last !== undefined && model.eosTokenIds.includes(last)
  const written = isStopToken ? ids.slice(0, -1) : ids
  const texts = written.map((id) => stream.push(id))
  // what was held back comes with the last token that has a text
  if (typeof end === 'string' && texts.length > 0) texts.push(texts.pop()! + stream.flush())
  return isStopToken ? [...texts, ''] : texts
}

/**
 * The words that tokens stand for, if it is these.
 * @param text as it is said to have come
 * @returns null if they stand for other words
 */
export function wordsText({ hasTokenizer, tokenizer }: LanguageModel, ids: readonly number[], text: string): string | null {
  if (!hasTokenizer) return null
  if (tokenizer.decode(ids) === text) return text
  // some tokenizers change a text before they split it
  const encoded = tokenizer.encode(text, { allowSpecial: false })
  return encoded.length === ids.length && encoded.every((id, at) => id === ids[at]) ? text : null
}

/** Every tokenizer of a model is one; its type in public is narrower. */
function modelTokenizer({ tokenizer }: LanguageModel): ModelTokenizer {
  return tokenizer as ModelTokenizer
}
