import type { ModelTokenizer, Tokenizer } from '../../io/tokenizer.js'
import type { LanguageModel } from '../../model/language-model.js'
import { createTextStream } from '../../model/text/text-stream.js'

/** How tokens are written in `logprobs`. */
export class TokenText {
  readonly #tokenizer: ModelTokenizer | undefined
  /** Texts by id, as many as a few requests need; a vocabulary is finite. */
  readonly #texts = new Map<number, string>()

  constructor({ tokenizer, hasTokenizer }: LanguageModel) {
    this.#tokenizer = hasTokenizer ? asModelTokenizer(tokenizer) : undefined
  }

  /**
   * A token by itself. One that is no whole character is written as its bytes, such as 'bytes:\xe2\x80', as OpenAI does;
   * one without a text as 'token_id:5', as vLLM does.
   */
  of(id: number): string {
    let text = this.#texts.get(id)
    if (text === undefined) this.#texts.set(id, (text = this.#read(id)))
    return text
  }

  #read(id: number): string {
    const tokenizer = this.#tokenizer
    if (!tokenizer || id >= tokenizer.size || !tokenizer.isNamed(id)) return `token_id:${id}`
    const bytes = tokenizer.tokenBytes(id)
    if (bytes === undefined) return tokenizer.decode([id])
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    } catch {
      return `bytes:${Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')}`
    }
  }

  /**
   * Follows a text and tells where each token begins in it, in UTF-16 code units.
   * @param before the tokens before, or the last of them
   * @param offset where the first begins
   */
  offsets(before: readonly number[], offset: number): (id: number) => number {
    const stream = this.#tokenizer && createTextStream(this.#tokenizer, [], before)
    return (id) => {
      const begin = offset
      offset += stream?.push(id).length ?? 0
      return begin
    }
  }
}

/** Every tokenizer of a model is one; its type in public is narrower. */
function asModelTokenizer(tokenizer: Tokenizer): ModelTokenizer {
  return tokenizer as ModelTokenizer
}
