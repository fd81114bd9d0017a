import { readJson } from '../body.js'
import type { Exchange } from '../exchange.js'
import { eventStream, json, type Reply, sseEvent } from '../reply.js'
import type { Route } from '../router.js'
import type { Services } from '../services.js'
import { readCompletionRequest } from './completion-request.js'
import { CompletionWriter } from './completion-writer.js'
import { continuePrompts, type Piece } from './continue-prompts.js'
import { TokenText } from './token-text.js'

/** `POST /v1/completions`, in OpenAI's form. @param handle as `completionHandler` gives it */
export function completionRoutes(handle: Route['handle']): Route[] {
  return [{ method: 'POST', pattern: '/v1/completions', handle }]
}

export function completionHandler(services: Services): (exchange: Exchange) => Promise<Reply> {
  const texts = new TokenText(services.model)
  return (exchange) => complete(exchange, services, texts)
}

async function complete(exchange: Exchange, services: Services, texts: TokenText): Promise<Reply> {
  const { model, settings } = services
  const { signal, usage } = exchange
  const request = await readCompletionRequest(await readJson(exchange.request, settings, signal), model, settings, signal)
  const writer = new CompletionWriter(request, settings.modelName, texts)
  const admitted = await services.admission.admit(request.prompts.length * request.n, exchange)
  usage.queuedMilliseconds = admitted.waited
  const pieces = piecesOf()
  if (!request.stream) return json(await writer.collect(pieces, usage))
  const chunks = writer.stream(pieces, usage)
  // what fails before the first chunk has a status of its own
  const first = await chunks.next()
  return eventStream(events(first, chunks))

  async function* piecesOf(): AsyncGenerator<Piece, void, undefined> {
    let byteLength = 0
    const onSession = (session: { readonly byteLength: number }) => void (byteLength = Math.max(byteLength, session.byteLength))
    try {
      const prefixes = services.prefixes[exchange.key]!
      yield* continuePrompts({ model, prefixes, sharesReading: settings.maxQueue > 0, request, signal, usage, place: admitted, onSession })
    } finally {
      admitted.release(byteLength)
    }
  }
}

/** Not a generator, which would not pass `return` on before it has begun. */
function events(
  first: IteratorResult<object, void>,
  rest: AsyncGenerator<object, void, undefined>,
): AsyncIterator<string, unknown, undefined> {
  let next: IteratorResult<object, void> | undefined = first
  let isDone = false
  return {
    next: async () => {
      if (isDone) return { done: true, value: undefined }
      const { done, value } = next ?? (await rest.next())
      next = undefined
      isDone = done === true
      return { done: false, value: sseEvent(done ? '[DONE]' : value) }
    },
    return: async () => {
      isDone = true
      await rest.return()
      return { done: true, value: undefined }
    },
  }
}
