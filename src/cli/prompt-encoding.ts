import { setImmediate } from 'node:timers/promises'
import { type LanguageModel, RoutedAttentionError } from '../index.js'
import type { Terminal } from './command.js'

/** Characters (UTF-16) that are encoded between two looks at Ctrl-C; a shorter prompt is encoded at once. */
const CHUNK = 65_536

/**
 * Token ids of a prompt, the same as `encode` gives. A long one comes in chunks, which tell how far it is and let
 * Ctrl-C in, where the tokenizer can cut a text.
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
      await setImmediate() // lets Ctrl-C in
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
    // A tokenizer that does not cut texts, or not this one: what else it says of the text, `encode` says again.
    return tokenizer.encode(prompt, options)
  } finally {
    status.clear()
  }
}
