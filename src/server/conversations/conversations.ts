import type { PrefixCache } from '../../model/prefix-cache.js'
import type { Admitted } from '../admission.js'
import type { Exchange } from '../exchange.js'
import { hexOf } from '../hex.js'
import { HttpError } from '../http-error.js'
import type { Services } from '../services.js'
import type { ConversationStore } from '../stores/store.js'
import { AwakeConversations } from './awake-conversations.js'
import type { Conversation } from './conversation.js'
import type { ConversationFile } from './conversation-file.js'
import { type ConversationService, earlierTurn, newTurn, type Taken, turnUnderWay, unknownConversation } from './conversation-service.js'
import { newConversationId } from './conversation-id.js'
import { EventStream, type EventPosition } from './event-stream.js'
import { IdleSessions } from './idle-sessions.js'
import { type Asked, encodeEntries, type Head } from './record.js'
import { runTurn } from './turn-runner.js'

/**
 * All conversations of a store, and what clients do with them. One that is used is in memory (`AwakeConversations`), with
 * its tokens; which of them have a session there is up to `IdleSessions`. Everything that counts is stored before a client learns of it, so that the store alone tells how to
 * go on, whenever this process ends.
 */
export class Conversations implements ConversationService {
  readonly #services: Services
  readonly #store: ConversationStore
  readonly #sessions: IdleSessions
  readonly #awake: AwakeConversations

  constructor(services: Services) {
    this.#services = services
    this.#store = services.settings.store
    this.#sessions = new IdleSessions(services.model, services.settings)
    this.#awake = new AwakeConversations(services, this.#sessions)
    services.admission.reclaim = () => this.#awake.tidy(0)
    const { registry } = services.metrics
    registry.gauge('routed_attention_conversations', 'Conversations in memory.', () => this.#awake.size)
    registry.gauge(
      'routed_attention_idle_session_bytes',
      'Memory of sessions that are kept between turns.',
      () => this.#sessions.byteLength,
    )
  }

  /**
   * Creates a conversation.
   * @param defaults fields that a turn's body has unless it says otherwise
   * @param first words that are read before the first turn, without an answer
   * @returns its id
   */
  async create(defaults: Head['defaults'], first: Asked | undefined): Promise<string> {
    const head = { model: hexOf(this.#services.model.fingerprint), defaults }
    return this.add({ head, turns: first ? [{ ...first, start: 0, ids: [], texts: [], end: 'read' }] : [] })
  }

  /** Adds a conversation that began elsewhere, under an id of its own. @returns its id */
  async add(conversation: ConversationFile): Promise<string> {
    const id = newConversationId()
    if (!(await this.#store.write(id, 1, encodeEntries(conversation))))
      throw new HttpError(409, 'CONFLICT', 'the store has a conversation of this id; try again')
    return id
  }

  /**
   * All that another server needs to go on with a conversation. A turn that was interrupted is answered to its end, as by
   * `follow`.
   * @param withSnapshot whether it is to hold a snapshot, if there is one
   * @param by the request
   * @throws HttpError 404; 409 while a turn is being answered; 503
   */
  copy(id: string, withSnapshot: boolean, by: Exchange): Promise<ConversationFile> {
    return this.#usePlace(id, by, async (conversation, begin) => {
      if (isAsleep(conversation)) {
        if (!begin) return undefined
        begin(conversation)
      }
      if (conversation.unfinished) throw turnUnderWay()
      const snapshot = withSnapshot ? await this.#sessions.snapshot(conversation) : undefined
      return { head: conversation.head, turns: [...conversation.turns], snapshot }
    })
  }

  /** What a turn of it has unless it says otherwise. @throws HttpError 404, 409 */
  async defaultsOf(id: string): Promise<Head['defaults']> {
    return (await this.#awake.open(id)).head.defaults
  }

  /**
   * Takes words, once: with the key of an earlier turn it gives that one. The answer begins at once, and goes on to its
   * end whoever follows it.
   * @param by the request
   * @throws HttpError 400; 404; 409 while another turn is being answered, or for a key that came with another body; 503
   */
  take(id: string, asked: Asked, by: Exchange): Promise<Taken> {
    return this.#usePlace(id, by, async (conversation, begin) => {
      if (isAsleep(conversation)) {
        if (!begin) return undefined
        begin(conversation)
      }
      const known = earlierTurn(conversation, asked)
      if (known) return known
      if (conversation.unfinished) throw turnUnderWay()
      const turn = newTurn(this.#services, asked, conversation.length)
      if (!begin) return undefined
      const number = conversation.turns.length
      await conversation.writeTurn(number, turn)
      conversation.turns.push(turn)
      begin(conversation)
      return { conversation, number, isNew: true }
    })
  }

  /**
   * The events of a conversation; a turn that was interrupted, by the end of a process, is answered to its end.
   * @param by the request
   * @throws HttpError 400, 404, 503
   */
  follow(id: string, position: EventPosition, by: Exchange): Promise<EventStream> {
    return this.#usePlace(id, by, async (conversation, begin) => {
      const stream = new EventStream(conversation, position, by.signal)
      if (!isAsleep(conversation)) return stream
      begin?.(conversation)
      return begin && stream
    })
  }

  /** Stops the turn that is being answered, and forgets the conversation. @throws HttpError 404 */
  delete(id: string): Promise<void> {
    const gone = new HttpError(404, 'NOT_FOUND', 'the conversation was deleted')
    return this.#awake.use(id, async (conversation) => {
      this.#awake.forget(conversation, gone)
      conversation.running?.abort(gone)
      if (!(await this.#store.delete(id))) throw unknownConversation()
    })
  }

  /**
   * Runs something that may begin to answer a turn, for which it needs a place.
   * @param work gets `begin` only if it has asked for it by returning undefined
   */
  async #usePlace<T>(
    id: string,
    by: Exchange,
    work: (conversation: Conversation, begin?: (conversation: Conversation) => void) => Promise<T | undefined>,
  ): Promise<T> {
    const done = await this.#awake.use(id, work)
    if (done !== undefined) return done
    const place = await this.#services.admission.admit(1, by)
    by.usage.queuedMilliseconds = place.waited
    let isUsed = false
    const begin = (conversation: Conversation) => {
      isUsed = true
      this.#run(conversation, place, this.#services.prefixes[by.key]!)
    }
    try {
      return (await this.#awake.use(id, (conversation) => work(conversation, begin)))!
    } finally {
      if (!isUsed) place.release()
    }
  }

  /** Answers the last turn. @param place the caller's until now */
  #run(conversation: Conversation, place: Admitted, prefixes: PrefixCache): void {
    const work = this.#services.work.begin()
    conversation.running = work
    void runTurn(conversation, this.#sessions, prefixes, place, work).then((usage) => {
      this.#services.metrics.countTokens(usage)
      if (conversation.isStale) this.#awake.forget(conversation)
      this.#awake.tidy()
    })
  }
}

/** Whether its last turn was interrupted, and nobody answers it. */
function isAsleep({ unfinished, running }: Conversation): boolean {
  return unfinished !== undefined && running === undefined
}
