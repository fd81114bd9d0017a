import type { FinishReason, GeneratedToken } from './generate.js'

/** Result of `model.complete`. */
export interface Completion {
  /** The continuation, cut before a stop text or stop token. */
  readonly text: string
  /** All generated tokens, including a stop token. */
  readonly ids: number[]
  /** Also 'length' if there was no room for any token. */
  readonly finishReason: FinishReason
  /** Token counts. */
  readonly usage: {
    /** Tokens in the prompt. */
    readonly promptTokens: number
    /** Tokens generated: the length of `ids`. */
    readonly completionTokens: number
  }
}

export async function complete(tokens: AsyncIterable<GeneratedToken>, promptTokens: number): Promise<Completion> {
  const ids: number[] = []
  const texts: string[] = []
  let finishReason: FinishReason = 'length'
  for await (const token of tokens) {
    ids.push(token.id)
    texts.push(token.text)
    finishReason = token.finishReason ?? finishReason
  }
  return { text: texts.join(''), ids, finishReason, usage: { promptTokens, completionTokens: ids.length } }
}
