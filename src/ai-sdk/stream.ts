import type { LanguageModelV4StreamPart } from '@ai-sdk/provider'
import { reasonOf, RoutedAttentionError } from '../errors.js'
import type { Turn } from './turn.js'

/** The id of the one text of an answer. */
const TEXT = 'text'

/**
 * An answer as the parts of a stream. Tokens are generated as they are read, and end when the reader leaves. An abort
 * ends the stream with the signal's reason; any other error is a part, before the last.
 * @param opening the parts that come first
 * @param includesRaw whether each token is a part as well
 */
export function streamOf(
  turn: Turn,
  opening: readonly LanguageModelV4StreamPart[],
  includesRaw: boolean,
): ReadableStream<LanguageModelV4StreamPart> {
  const parts = partsOf(turn, opening, includesRaw)
  return new ReadableStream<LanguageModelV4StreamPart>(
    {
      async pull(controller) {
        const { done, value } = await parts.next()
        if (done) controller.close()
        else controller.enqueue(value)
      },
      async cancel(reason) {
        turn.cancel(reason)
        await parts.return()
      },
    },
    { highWaterMark: 0 },
  )
}

async function* partsOf(
  turn: Turn,
  opening: readonly LanguageModelV4StreamPart[],
  includesRaw: boolean,
): AsyncGenerator<LanguageModelV4StreamPart, void, undefined> {
  yield* opening
  yield { type: 'text-start', id: TEXT }
  let { finishReason } = turn
  try {
    for await (const token of turn.tokens()) {
      if (includesRaw) yield { type: 'raw', rawValue: token }
      if (token.text !== '') yield { type: 'text-delta', id: TEXT, delta: token.text }
    }
    finishReason = turn.finishReason
  } catch (error) {
    if (turn.isAborted) throw error
    yield { type: 'error', error }
    finishReason = { unified: 'error', raw: error instanceof RoutedAttentionError ? error.code : reasonOf(error) }
  }
  yield { type: 'text-end', id: TEXT }
  yield { type: 'finish', finishReason, usage: turn.usage }
}
