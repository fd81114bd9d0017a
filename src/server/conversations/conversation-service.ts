import type { Exchange } from '../exchange.js'
import { badField, HttpError } from '../http-error.js'
import type { Conversation } from './conversation.js'
import type { ConversationFile } from './conversation-file.js'
import type { EventPosition, EventStream } from './event-stream.js'
import type { Asked, Head, Turn } from './record.js'
import { type Limits, tokenLimit } from './turn-request.js'

/** A turn that was taken, now or before. */
export interface Taken {
  readonly conversation: Conversation
  /** The turn's number. */
  readonly number: number
  /** Whether it was taken just now. */
  readonly isNew: boolean
}

/** What the routes of conversations ask for. */
export interface ConversationService {
  /**
   * Creates a conversation.
   * @param defaults fields that a turn's body has unless it says otherwise
   * @param first words that are read before the first turn, without an answer
   * @returns its id
   */
  create(defaults: Head['defaults'], first: Asked | undefined): Promise<string>
  /** Adds a conversation that began elsewhere, under an id of its own. @returns its id */
  add(conversation: ConversationFile): Promise<string>
  /**
   * All that another server needs to go on with a conversation. A turn that was interrupted is answered to its end, as by
   * `follow`.
   * @param withSnapshot whether it is to hold a snapshot, if there is one
   * @param by the request
   * @throws HttpError 404; 409 while a turn is being answered; 503
   */
  copy(id: string, withSnapshot: boolean, by: Exchange): Promise<ConversationFile>
  /** What a turn of it has unless it says otherwise. @throws HttpError 404, 409 */
  defaultsOf(id: string): Promise<Head['defaults']>
  /**
   * Takes words, once: with the key of an earlier turn it gives that one.
   * @param by the request
   * @throws HttpError 400; 404; 409 while another turn is being answered, or for a key that came with another body; 503
   */
  take(id: string, asked: Asked, by: Exchange): Promise<Taken>
  /**
   * The events of a conversation; a turn that was interrupted is answered to its end.
   * @param by the request
   * @throws HttpError 400, 404, 503
   */
  follow(id: string, position: EventPosition, by: Exchange): Promise<EventStream>
  /** Stops the turn that is being answered, and forgets the conversation. @throws HttpError 404 */
  delete(id: string): Promise<void>
}

/** The turn that a key was given for. @throws HttpError 409 if it came with another body */
export function earlierTurn(conversation: Conversation, { key, asked }: Asked): Taken | undefined {
  const { turns } = conversation
  const number = key === null ? -1 : turns.findIndex((turn) => turn.key === key)
  if (number === -1) return undefined
  if (turns[number]!.asked === asked) return { conversation, number, isNew: false }
  throw new HttpError(409, 'CONFLICT', 'another body was sent with this Idempotency-Key before')
}

/** One turn at a time: status 409. */
export function turnUnderWay(): HttpError {
  return new HttpError(409, 'CONFLICT', 'a turn of this conversation is being answered; follow its events to the end, or delete it', {
    headers: { 'retry-after': '1' },
  })
}

/**
 * A turn whose answer has not begun.
 * @param start tokens before it
 * @throws HttpError 400 if there is no room for it
 */
export function newTurn(limits: Limits, asked: Asked, start: number): Turn {
  const most = tokenLimit(limits)
  const room = most - start - asked.prompt.length
  if (start + asked.prompt.length === 0) throw badField('prompt', 'the first turn needs a prompt of at least one token')
  if (room < 1)
    throw badField(
      'prompt',
      `the conversation may have ${most} tokens; it has ${start}, and ${asked.prompt.length} more leave no room for an answer`,
    )
  const options = { ...asked.options, maxTokens: Math.min(asked.options.maxTokens, room) }
  return { ...asked, options, start, ids: [], texts: [], end: null }
}

/** Status 404. */
export function unknownConversation(): HttpError {
  return new HttpError(404, 'NOT_FOUND', 'there is no such conversation')
}
