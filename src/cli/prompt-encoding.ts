import { setImmediate } from 'node:timers/promises'
import { type LanguageModel, RoutedAttentionError } from '../index.js'
import type { Terminal } from './command.js'

/** Characters (UTF-16) encoded between two checks for Ctrl-C; a shorter prompt is encoded in one go. */
const CHUNK = 65_536

/**
 * Token ids of a prompt, the same as `encode` gives. If the tokenizer can split text, a long prompt is encoded in
 * chunks, with progress and checks for Ctrl-C in between.
 * @throws the signal's reason
 */
export async function encodePrompt(
  { tokenizer }: Pick<LanguageModel, 'tokenizer'>,
  prompt: string,
  allowSpecial: boolean,
  { status, signal }: Pick<Terminal, 'status' | 'signal'>,
): Promise<number[]> {
  const options = { allowSpecial }
  if (prompt.length <= CHUNK) return tokenizer.encode(prompt, options)
  const chunks = async function* () {
    for (let start = 0; start < prompt.length; start += CHUNK) {
      status.show(() => `encoding the prompt: ${Math.floor((100 * start) / prompt.length)} %`)
      await setImmediate() // lets Ctrl-C through
      signal.throwIfAborted()
      yield prompt.slice(start, start + CHUNK)
    }
  }
  const ids: number[] = []
  try {
    for await (const piece of tokenizer.encodeStream(chunks(), options)) for (const id of piece) ids.push(id)
    return ids
  } catch (error) {
    if (!(error instanceof RoutedAttentionError) || (error.code !== 'UNSUPPORTED' && error.code !== 'BAD_ARGUMENT')) throw error
    // The tokenizer does not split text, or not this one; `encode` will report any other problem again.
    return tokenizer.encode(prompt, options)
  } finally {
    status.clear()
  }
}
