import { hexOf } from '../hex.js'
import { HttpError } from '../http-error.js'
import type { Services } from '../services.js'
import type { ConversationStore } from '../stores/store.js'
import { Conversation, WriteConflict } from './conversation.js'
import { unknownConversation } from './conversation-service.js'
import { isConversationId } from './conversation-id.js'
import type { IdleSessions } from './idle-sessions.js'
import { LOG } from './record.js'

/** Conversations that are kept in memory without anything being under way, and bytes of their turns. */
const MAX_AWAKE = 1000
const MAX_AWAKE_BYTES = 2 ** 26

/** How often a request is tried that another process keeps changing the conversation of. */
const MAX_ATTEMPTS = 3

/** The conversations in memory. One is read from the store when it is first used, and let go when it was not for long. */
export class AwakeConversations {
  readonly #store: ConversationStore
  readonly #work: Services['work']
  readonly #sessions: IdleSessions
  /** Fingerprint of the model, which its conversations have as well. */
  readonly #fingerprint: string
  /** In the order of their last use. */
  readonly #awake = new Map<string, Conversation>()
  /** Those being read from the store. */
  readonly #waking = new Map<string, Promise<Conversation>>()
  #isTidying = false

  constructor({ model, settings, work }: Services, sessions: IdleSessions) {
    this.#store = settings.store
    this.#work = work
    this.#sessions = sessions
    this.#fingerprint = hexOf(model.fingerprint)
  }

  /** How many there are. */
  get size(): number {
    return this.#awake.size
  }

  /**
   * Runs something on a conversation, as the store has it, while no other request changes it; anew if another process has
   * changed it meanwhile.
   * @throws as `open`; whatever the work throws
   */
  async use<T>(id: string, work: (conversation: Conversation) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const isNew = !this.#awake.has(id)
      const conversation = await this.open(id)
      try {
        const done = await conversation.mutex.runExclusive(async () => {
          if (!conversation.isStale && !conversation.running && !isNew) conversation.isStale = !(await conversation.isCurrent())
          if (conversation.isStale) return undefined
          conversation.usedAt = Date.now()
          return { result: await work(conversation) }
        })
        if (done) return done.result
      } catch (error) {
        if (!(error instanceof WriteConflict) || attempt === MAX_ATTEMPTS) throw error
      } finally {
        if (conversation.isStale) this.forget(conversation)
      }
    }
  }

  /** @throws HttpError 404, 409 for another model's */
  async open(id: string): Promise<Conversation> {
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
    const stored = isConversationId(id) ? await this.#store.read(id, LOG) : undefined
    if (!stored) throw unknownConversation()
    const conversation = new Conversation(this.#store, id, stored)
    if (conversation.head.model !== this.#fingerprint)
      throw new HttpError(409, 'CONFLICT', 'the conversation was held with another model than this')
    this.#awake.set(id, conversation)
    this.tidy()
    return conversation
  }

  /** Lets go of a conversation. @param failure told to those who follow a turn of it */
  forget(conversation: Conversation, failure?: HttpError): void {
    if (this.#awake.get(conversation.id) === conversation) this.#awake.delete(conversation.id)
    this.#sessions.forget(conversation)
    conversation.retire(failure)
  }

  /**
   * Gives back the memory of what was not used for longest. What is under way stays.
   * @param maxBytes that sessions may keep between turns; default: as many as always
   */
  tidy(maxBytes?: number): void {
    if (this.#isTidying) return
    this.#isTidying = true
    const work = this.#work.begin()
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
      this.forget(conversation)
    }
  }
}
