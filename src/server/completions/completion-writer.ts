import type { Usage } from '../log.js'
import { randomId } from '../random-id.js'
import type { CompletionRequest } from './completion-request.js'
import type { Piece } from './continue-prompts.js'
import type { TokenText } from './token-text.js'

/** OpenAI's `logprobs` of a text completion: arrays of one length, an element for each token. */
interface Logprobs {
  readonly tokens: string[]
  readonly token_logprobs: (number | null)[]
  readonly top_logprobs: (Record<string, number> | null)[]
  readonly text_offset: number[]
}

interface Choice {
  readonly index: number
  text: string
  logprobs: Logprobs | null
  finish_reason: string | null
}

/** Writes the pieces of a completion in OpenAI's form. */
export class CompletionWriter {
  readonly #head: { readonly id: string; readonly object: 'text_completion'; readonly created: number; readonly model: string }
  readonly #request: CompletionRequest
  readonly #texts: TokenText
  /** Where the next token of each choice begins in its text. */
  readonly #offsets = new Map<number, (id: number) => number>()

  constructor(request: CompletionRequest, modelName: string, texts: TokenText) {
    this.#head = { id: randomId('cmpl-', 18), object: 'text_completion', created: Math.floor(Date.now() / 1000), model: modelName }
    this.#request = request
    this.#texts = texts
  }

  /** The whole completion. */
  async collect(pieces: AsyncIterable<Piece>, usage: Usage): Promise<object> {
    const { prompts, n } = this.#request
    const choices = Array.from({ length: prompts.length * n }, (_, index): Choice =>
      this.#choice({ index, text: '', tokens: [], finishReason: null }),
    )
    for await (const piece of pieces) {
      const { text, logprobs, finish_reason } = this.#choice(piece)
      const choice = choices[piece.index]!
      choice.text += text
      choice.finish_reason = finish_reason
      for (const name of ['tokens', 'token_logprobs', 'top_logprobs', 'text_offset'] as const)
        (choice.logprobs?.[name] as unknown[] | undefined)?.push(...logprobs![name])
    }
    return { ...this.#head, choices, usage: usageOf(usage) }
  }

  /** The completion as chunks, each an object to send. */
  async *stream(pieces: AsyncIterable<Piece>, usage: Usage): AsyncGenerator<object, void, undefined> {
    const { includeUsage, logprobs } = this.#request
    for await (const piece of pieces) {
      // characters of several tokens, and text that may become a stop text, come with a later one
      if (piece.text === '' && piece.finishReason === null && logprobs === undefined) continue
      yield { ...this.#head, choices: [this.#choice(piece)], ...(includeUsage && { usage: null }) }
    }
    if (includeUsage) yield { ...this.#head, choices: [], usage: usageOf(usage) }
  }

  #choice(piece: Piece): Choice {
    const { index, text, finishReason } = piece
    return { text, index, logprobs: this.#request.logprobs === undefined ? null : this.#logprobs(piece), finish_reason: finishReason }
  }

  #logprobs({ index, tokens }: Piece): Logprobs {
    const texts = this.#texts
    const offset = this.#offsetsOf(index)
    return {
      tokens: tokens.map(({ id }) => texts.of(id)),
      token_logprobs: tokens.map(({ logprob }) => logprob),
      top_logprobs: tokens.map((token) => {
        if (token.logprob === null) return null
        const top = 'topLogprobs' in token ? (token.topLogprobs ?? []) : []
        return Object.fromEntries([...top, token].map(({ id, logprob }) => [texts.of(id), logprob]))
      }),
      text_offset: tokens.map(({ id }) => offset(id)),
    }
  }

  #offsetsOf(index: number): (id: number) => number {
    const { prompts, n, echo } = this.#request
    let offset = this.#offsets.get(index)
    if (!offset) {
      const { ids } = prompts[Math.floor(index / n)]!
      // with echo, the prompt's own tokens come first
      offset = this.#texts.offsets(echo ? [] : ids, 0)
      this.#offsets.set(index, offset)
    }
    return offset
  }
}

function usageOf({ promptTokens, completionTokens, cachedTokens }: Usage): object {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  }
}
