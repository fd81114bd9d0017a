import { nextMacrotask } from '../event-loop.js'
import { RoutedAttentionError } from '../errors.js'
import type { LanguageModel } from '../model/language-model.js'
import { badField } from './http-error.js'

/**
 * Encodes a text that a client sent, whose special tokens are plain text. Other requests go on meanwhile, and a text far
 * beyond the limit is not encoded to its end.
 * @param field the text's name in the body
 * @throws HttpError 400 if it has more than `maxTokens` tokens or none; RoutedAttentionError if the model cannot read
 * text; or the signal's reason
 */
export async function encodePrompt(
  { tokenizer }: LanguageModel,
  text: string,
  { field, maxTokens, signal }: { field: string; maxTokens: number; signal: AbortSignal },
): Promise<number[]> {
  const ids: number[] = []
  const options = { allowSpecial: false }
  let parts: AsyncIterable<Int32Array> | undefined
  try {
    parts = tokenizer.encodeStream([text], options)
  } catch (error) {
    // some tokenizers read a text as a whole or not at all
    if (!(error instanceof RoutedAttentionError && error.code === 'UNSUPPORTED')) throw error
    ids.push(...tokenizer.encode(text, options))
  }
  for await (const part of parts ?? []) {
    for (const id of part) ids.push(id)
    if (ids.length > maxTokens) break
    await nextMacrotask()
    signal.throwIfAborted()
  }
  checkPromptLength(ids.length, field, maxTokens)
  return ids
}

/** @throws HttpError 400 */
export function checkPromptLength(length: number, field: string, maxTokens: number): void {
  if (length === 0) throw badField(field, `${field} must hold at least one token`)
  if (length > maxTokens) throw badField(field, `${field} has more than the ${maxTokens} tokens that are allowed`)
}
