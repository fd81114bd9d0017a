import { RoutedAttentionError } from '../../errors.js'
import { mediaType, readBytes, readJson } from '../body.js'
import type { Exchange } from '../exchange.js'
import { HttpError } from '../http-error.js'
import { releaseBuffer } from '../release-buffer.js'
import { eventStream, json, type Reply } from '../reply.js'
import type { Route } from '../router.js'
import type { LanguageModel } from '../../model/language-model.js'
import type { Settings } from '../options.js'
import type { ConversationService } from './conversation-service.js'
import { checkConversation } from './check-conversation.js'
import { CONVERSATION_TYPE, decodeConversation, encodeConversation } from './conversation-file.js'
import { answerPosition, eventId, type EventPosition, parseEventId } from './event-stream.js'
import { KEY_LENGTH } from './record.js'
import { readCreation, readTurn } from './turn-request.js'

const CONVERSATIONS = '/v1/conversations'

/**
 * Routes of conversations: created, continued turn by turn, followed, moved, deleted.
 * @param model by which words are read
 */
export function conversationRoutes(
  conversations: ConversationService,
  settings: Settings,
  model: () => LanguageModel | Promise<LanguageModel>,
): Route[] {
  const create = async (exchange: Exchange): Promise<Reply> => {
    const { request, url, signal } = exchange
    if (mediaType(request) === CONVERSATION_TYPE) return created(url, await add(exchange))
    const given = await readJson(request, settings, signal)
    const { defaults, first } = readCreation({ model: await model(), settings }, given)
    return created(url, await conversations.create(defaults, first))
  }

  /** Adds the conversation in a body. @returns its id */
  const add = async ({ request, signal }: Exchange): Promise<string> => {
    const { maxImportBytes, stallTimeout, transferSecret } = settings
    const bytes = await readBytes(request, { maxBodyBytes: maxImportBytes, stallTimeout }, signal)
    const file = checkConversation({ model: await model(), settings }, await decodeConversation(bytes, transferSecret).catch(refuseFile))
    const id = await conversations.add(file)
    // the store has copied what it keeps
    releaseBuffer(bytes)
    return id
  }

  const write = async (exchange: Exchange): Promise<Reply> => {
    const { transferSecret } = settings
    const id = exchange.params['id']!
    const conversation = await conversations.copy(id, transferSecret !== undefined, exchange)
    const headers = { 'content-type': CONVERSATION_TYPE, 'content-disposition': `attachment; filename="${id}.conversation"` }
    const body = await encodeConversation(conversation, transferSecret)
    conversation.release?.()
    return { status: 200, headers, body }
  }

  const created = (url: URL, id: string): Reply => {
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

  return routesOfConversations({ create, take, follow, export: write, delete: forget })
}

/** The routes of conversations, whoever answers them. */
export function routesOfConversations(
  handlers: Readonly<Record<'create' | 'take' | 'follow' | 'export' | 'delete', Route['handle']>>,
): Route[] {
  return [
    { method: 'POST', pattern: CONVERSATIONS, handle: handlers.create },
    { method: 'POST', pattern: `${CONVERSATIONS}/:id/turns`, handle: handlers.take },
    { method: 'GET', pattern: `${CONVERSATIONS}/:id/events`, handle: handlers.follow },
    { method: 'GET', pattern: `${CONVERSATIONS}/:id/export`, handle: handlers.export },
    { method: 'DELETE', pattern: `${CONVERSATIONS}/:id`, handle: handlers.delete },
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

/** A file that is none is the client's fault. */
function refuseFile(error: unknown): never {
  throw error instanceof RoutedAttentionError ? new HttpError(400, error.code, error.message) : error
}
