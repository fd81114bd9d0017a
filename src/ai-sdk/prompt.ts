import type { LanguageModelV4Prompt, SharedV4Warning } from '@ai-sdk/provider'
import { describe, RoutedAttentionError } from '../errors.js'
import type { LanguageModel } from '../model/language-model.js'
import { checkTokenIds } from '../model/text/token-ids.js'
import { unsupported } from './call-options.js'
import type { RoutedAttentionOptions } from './options.js'

/**
 * The token ids of a prompt.
 * @param prompt the option of `createRoutedAttention`
 * @param warnings what is left out is added
 * @throws RoutedAttentionError `BAD_ARGUMENT`, `UNSUPPORTED` (text without a tokenizer)
 */
export function encodePrompt(
  model: LanguageModel,
  prompt: RoutedAttentionOptions['prompt'],
  messages: LanguageModelV4Prompt,
  warnings: SharedV4Warning[],
): Int32Array {
  const made: unknown = prompt ? prompt(messages) : joinTexts(messages, warnings)
  if (typeof made !== 'string' && !Array.isArray(made) && !ArrayBuffer.isView(made))
    throw new RoutedAttentionError('BAD_ARGUMENT', `prompt must return a text or token ids, got ${describe(made)}`)
  const ids = typeof made === 'string' ? model.tokenizer.encode(made, { allowSpecial: false }) : made
  return checkTokenIds('prompt', ids, model.config.numTokens)
}

/** The texts of all messages in their order, with nothing between them. */
function joinTexts(messages: LanguageModelV4Prompt, warnings: SharedV4Warning[]): string {
  const texts: string[] = []
  const left = new Set<string>()
  for (const { content } of messages) {
    for (const part of typeof content === 'string' ? [{ type: 'text' as const, text: content }] : content) {
      if (part.type === 'text') texts.push(part.text)
      else if (part.type === 'file' && part.data.type === 'text') texts.push(part.data.text)
      else left.add(part.type)
    }
  }
  for (const type of left) warnings.push(unsupported(`message part '${type}'`, 'only texts are read'))
  return texts.join('')
}
