import type { FinishReason, GeneratedToken } from './generate.js'

/** A continuation as a whole. */
export interface Completion {
  /** Up to a stop text or a stop token, without it. */
  readonly text: string
  /** All tokens, a stop token among them. */
  readonly ids: number[]
  /** 'length' also where there was no room for any token. */
  readonly finishReason: FinishReason
  /** Tokens of the prompt and of the continuation. */
  readonly usage: {
    /** Tokens that were read. */
    readonly promptTokens: number
    /** Tokens that were written: as many as there are `ids`. */
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
