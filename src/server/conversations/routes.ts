import { readJson } from '../body.js'
import type { Exchange } from '../exchange.js'
import { HttpError } from '../http-error.js'
import { eventStream, json, type Reply } from '../reply.js'
import type { Route } from '../router.js'
import type { LanguageModel } from '../../model/language-model.js'
import type { Settings } from '../options.js'
import type { ConversationService } from './conversation-service.js'
import { answerPosition, eventId, type EventPosition, parseEventId } from './event-stream.js'
import { readCreation, readTurn } from './turn-request.js'

const CONVERSATIONS = '/v1/conversations'
const KEY_LENGTH = 255

/**
 * Routes of conversations: created, continued turn by turn, followed, deleted.
 * @param model by which words are read
 */
export function conversationRoutes(
  conversations: ConversationService,
  settings: Settings,
  model: () => LanguageModel | Promise<LanguageModel>,
): Route[] {
  const create = async ({ request, url, signal }: Exchange): Promise<Reply> => {
    const body = await readJson(request, settings, signal)
    const { defaults, first } = readCreation({ model: await model(), settings }, body)
    const id = await conversations.create(defaults, first)
    const address = `${url.pathname}/${id}`
    return json({ id, object: 'conversation', turns: `${address}/turns`, events: `${address}/events` }, 201, { location: address })
  }

  const take = async (exchange: Exchange): Promise<Reply> => {
    const { request, url, params, signal } = exchange
    const key = request.headers.get('idempotency-key')
    if (key !== null && (key === '' || key.length > KEY_LENGTH))
      throw new HttpError(400, 'BAD_ARGUMENT', `Idempotency-Key must have 1 to ${KEY_LENGTH} characters, and has ${key.length}`)
    const id = params['id']!
    const defaults = await conversations.defaultsOf(id)
    const given = await readJson(request, settings, signal)
    const asked = readTurn({ model: await model(), settings }, given, defaults, key)
    const { conversation, number, isNew } = await conversations.take(id, asked, exchange)
    const { options } = conversation.turns[number]!
    const after = answerPosition(conversation, number)
    const events = `${url.pathname.replace(/turns$/, 'events')}?after=${eventId(after)}`
    const body = { object: 'conversation.turn', turn: number, position: after.position, seed: options.seed, events }
    return json(body, isNew ? 201 : 200, { location: events })
  }

  const follow = async (exchange: Exchange): Promise<Reply> => {
    const { request, url, params } = exchange
    const stream = await conversations.follow(params['id']!, startOf(request, url), exchange)
    // a browser's EventSource takes 204 for the end
    return stream.isEmpty ? { status: 204, headers: {}, body: null } : eventStream(stream)
  }

  const forget = async ({ params }: Exchange): Promise<Reply> => {
    await conversations.delete(params['id']!)
    return { status: 204, headers: {}, body: null }
  }

  return [
    { method: 'POST', pattern: CONVERSATIONS, handle: create },
    { method: 'POST', pattern: `${CONVERSATIONS}/:id/turns`, handle: take },
    { method: 'GET', pattern: `${CONVERSATIONS}/:id/events`, handle: follow },
    { method: 'DELETE', pattern: `${CONVERSATIONS}/:id`, handle: forget },
  ]
}

/** Where the client wants to go on: behind the last event it has, or else where the address says. */
function startOf(request: Request, url: URL): EventPosition {
  const last = request.headers.get('last-event-id')
  const given = last === null || last === '' ? (url.searchParams.get('after') ?? '0') : last
  const start = parseEventId(given)
  if (!start) throw new HttpError(400, 'BAD_ARGUMENT', `${last ? 'Last-Event-ID' : 'after'} must be the id of an event`)
  return start
}
