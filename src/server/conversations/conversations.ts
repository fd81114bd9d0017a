import type { PrefixCache } from '../../model/prefix-cache.js'
import type { Admitted } from '../admission.js'
import type { Exchange } from '../exchange.js'
import { HttpError } from '../http-error.js'
import type { Services } from '../services.js'
import type { ConversationStore } from '../stores/store.js'
import { Conversation, WriteConflict } from './conversation.js'
import { type ConversationService, earlierTurn, newTurn, type Taken, turnUnderWay, unknownConversation } from './conversation-service.js'
import { EventStream, type EventPosition } from './event-stream.js'
import { IdleSessions } from './idle-sessions.js'
import { type Asked, encodeHead, encodeTurn, HEAD, type Head, LOG, type Turn, turnName } from './record.js'
import { runTurn } from './turn-runner.js'

/** Conversations that are kept in memory without anything being under way, and bytes of their turns. */
const MAX_AWAKE = 1000
const MAX_AWAKE_BYTES = 2 ** 26

/** How often a request is tried that another process keeps changing the conversation of. */
const MAX_ATTEMPTS = 3

/** Bytes of an id: 192 bits, which nobody guesses. */
const ID_BYTES = 24
const ID = /^conv_[A-Za-z0-9_-]{32}$/

/**
 * All conversations of a store. One that is used is in memory, with its tokens; which of them have a session there is up
 * to `IdleSessions`. Everything that counts is stored before a client learns of it, so that the store alone tells how to
 * go on, whenever this process ends.
 */
export class Conversations implements ConversationService {
  readonly #services: Services
  readonly #store: ConversationStore
  readonly #sessions: IdleSessions
  /** Fingerprint of the model, which its conversations have as well. */
  readonly #fingerprint: string
  /** Those in memory, in the order of their last use. */
  readonly #awake = new Map<string, Conversation>()
  /** Those being read from the store. */
  readonly #waking = new Map<string, Promise<Conversation>>()
  #isTidying = false

  constructor(services: Services) {
    this.#services = services
    this.#store = services.settings.store
    this.#sessions = new IdleSessions(services.model, services.settings)
    this.#fingerprint = hex(services.model.fingerprint)
    services.admission.reclaim = () => this.#tidy(0)
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
    const id = `conv_${base64url(crypto.getRandomValues(new Uint8Array(ID_BYTES)))}`
    const turn: Turn | undefined = first && { ...first, start: 0, ids: [], texts: [], end: 'read' }
    const entries = new Map([[HEAD, encodeHead({ model: this.#fingerprint, defaults })]])
    if (turn) entries.set(turnName(0), encodeTurn(turn))
    if (!(await this.#store.write(id, 1, entries)))
      throw new HttpError(409, 'CONFLICT', 'the store has a conversation of this id; try again')
    return id
  }

  /** What a turn of it has unless it says otherwise. @throws HttpError 404, 409 */
  async defaultsOf(id: string): Promise<Head['defaults']> {
    return (await this.#open(id)).head.defaults
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
    return this.#use(id, async (conversation) => {
      this.#forget(conversation, gone)
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
    const done = await this.#use(id, work)
    if (done !== undefined) return done
    const place = await this.#services.admission.admit(1, by)
    by.usage.queuedMilliseconds = place.waited
    let isUsed = false
    const begin = (conversation: Conversation) => {
      isUsed = true
      this.#run(conversation, place, this.#services.prefixes[by.key]!)
    }
    try {
      return (await this.#use(id, (conversation) => work(conversation, begin)))!
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
      if (conversation.isStale) this.#forget(conversation)
      this.#tidy()
    })
  }

  /** Runs something on a conversation while no other request changes it; anew if another process has changed it. */
  async #use<T>(id: string, work: (conversation: Conversation) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const conversation = await this.#open(id)
      try {
        const done = await conversation.mutex.runExclusive(async () => {
          if (conversation.isStale) return undefined
          conversation.usedAt = Date.now()
          return { result: await work(conversation) }
        })
        if (done) return done.result
      } catch (error) {
        if (!(error instanceof WriteConflict) || attempt === MAX_ATTEMPTS) throw error
      } finally {
        if (conversation.isStale) this.#forget(conversation)
      }
    }
  }

  async #open(id: string): Promise<Conversation> {
    const awake = this.#awake.get(id)
    if (awake) {
      this.#awake.delete(id)
      this.#awake.set(id, awake)
      return awake
    }
    let waking = this.#waking.get(id)
    if (!waking) {
      waking = this.#wake(id).finally(() => this.#waking.delete(id))
      this.#waking.set(id, waking)
    }
    return waking
  }

  async #wake(id: string): Promise<Conversation> {
    const stored = ID.test(id) ? await this.#store.read(id, LOG) : undefined
    if (!stored) throw unknownConversation()
    const conversation = new Conversation(this.#store, id, stored)
    if (conversation.head.model !== this.#fingerprint)
      throw new HttpError(409, 'CONFLICT', 'the conversation was held with another model than this')
    this.#awake.set(id, conversation)
    this.#tidy()
    return conversation
  }

  #forget(conversation: Conversation, failure?: HttpError): void {
    if (this.#awake.get(conversation.id) === conversation) this.#awake.delete(conversation.id)
    this.#sessions.forget(conversation)
    conversation.retire(failure)
  }

  /**
   * Gives back the memory of what was not used for longest. What is under way stays.
   * @param maxBytes that sessions may keep between turns; default: as many as always
   */
  #tidy(maxBytes?: number): void {
    if (this.#isTidying) return
    this.#isTidying = true
    const work = this.#services.work.begin()
    void this.#sessions
      .tidy(maxBytes)
      .finally(() => {
        this.#isTidying = false
        work.end()
      })
      .then(() => this.#forgetIdle())
  }

  #forgetIdle(): void {
    let bytes = 0
    for (const { byteLength } of this.#awake.values()) bytes += byteLength
    for (const conversation of this.#awake.values()) {
      if (this.#awake.size <= MAX_AWAKE && bytes <= MAX_AWAKE_BYTES) return
      if (conversation.running || conversation.mutex.isLocked || conversation.session) continue
      bytes -= conversation.byteLength
      this.#forget(conversation)
    }
  }
}

/** Whether its last turn was interrupted, and nobody answers it. */
function isAsleep({ unfinished, running }: Conversation): boolean {
  return unfinished !== undefined && running === undefined
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
}
