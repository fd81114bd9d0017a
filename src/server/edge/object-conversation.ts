import type { LanguageModel } from '../../model/language-model.js'
import { Conversation } from '../conversations/conversation.js'
import type { ConversationFile } from '../conversations/conversation-file.js'
import {
  type ConversationService,
  earlierTurn,
  newTurn,
  type Taken,
  turnUnderWay,
  unknownConversation,
} from '../conversations/conversation-service.js'
import { EventStream, type EventPosition } from '../conversations/event-stream.js'
import { type Asked, encodeEntries, type Head, LOG, SNAPSHOT, type Turn } from '../conversations/record.js'
import type { Exchange } from '../exchange.js'
import { HttpError, toHttpError } from '../http-error.js'
import type { Settings } from '../options.js'
import type { ConversationStore } from '../stores/store.js'
import { pause } from './pause.js'
import type { SessionBudget } from './session-budget.js'
import { TurnDriver } from './turn-driver.js'

/** Milliseconds between two looks at a step that another request takes. */
const LOOK_INTERVAL = 5
/** Milliseconds without a step after which a turn is taken for left alone. */
const LEFT_ALONE = 1000

/** What all conversations of an isolate share. */
export interface ConversationMeans {
  readonly settings: Settings
  readonly snapshotInterval: number
  readonly now: () => number
  /** The model, and who gives out memory; loads it first if need be. */
  open(): Promise<{ readonly model: LanguageModel; readonly fingerprint: string; readonly budget: SessionBudget }>
  /** Who gives out memory, if the model was loaded. */
  readonly budget: () => SessionBudget | undefined
  /** The turns that are being answered, by conversation. */
  readonly drivers: Map<string, TurnDriver>
}

/**
 * One conversation, held by an object that alone has its store, such as a Durable Object. A turn is stored when it is
 * taken, and answered by whoever follows its events; one that was left is answered to its end by the next follower, or
 * before the next turn is taken.
 */
export class ObjectConversation implements ConversationService {
  readonly #id: string
  readonly #store: ConversationStore
  readonly #means: ConversationMeans
  #conversation: Conversation | undefined
  #steppedAt = -Infinity

  constructor(id: string, store: ConversationStore, means: ConversationMeans) {
    this.#id = id
    this.#store = store
    this.#means = means
    // an object of the same conversation was here before, and has ended
    this.#abandon()
  }

  async create(defaults: Head['defaults'], first: Asked | undefined): Promise<string> {
    const { fingerprint } = await this.#means.open()
    const head = { model: fingerprint, defaults }
    return this.add({ head, turns: first ? [{ ...first, start: 0, ids: [], texts: [], end: 'read' }] : [] })
  }

  async add(conversation: ConversationFile): Promise<string> {
    if (await this.#store.write(this.#id, 1, encodeEntries(conversation))) return this.#id
    throw new HttpError(409, 'CONFLICT', 'there is a conversation of this id already')
  }

  async copy(_id: string, withSnapshot: boolean, by: Exchange): Promise<ConversationFile> {
    for (;;) {
      const conversation = await this.#read()
      if (conversation.unfinished) {
        if (this.#means.now() - this.#steppedAt < LEFT_ALONE) throw turnUnderWay()
        await this.#answer(conversation, by)
        continue
      }
      const stored = withSnapshot ? await this.#store.read(this.#id, SNAPSHOT) : undefined
      // another turn may have been taken meanwhile
      if (conversation.unfinished || conversation.isStale) continue
      const snapshot = stored?.entries.get(SNAPSHOT)
      return { head: conversation.head, turns: [...conversation.turns], snapshot, release: stored?.release }
    }
  }

  async defaultsOf(): Promise<Head['defaults']> {
    return (await this.#read()).head.defaults
  }

  async take(_id: string, asked: Asked, by: Exchange): Promise<Taken> {
    for (;;) {
      const conversation = await this.#read()
      const known = earlierTurn(conversation, asked)
      if (known) return known
      if (conversation.unfinished) {
        if (this.#means.now() - this.#steppedAt < LEFT_ALONE) throw turnUnderWay()
        await this.#answer(conversation, by)
        continue
      }
      const { model } = await this.#openFor(conversation)
      const taken = await conversation.mutex.runExclusive(async () => {
        if (conversation.isStale || conversation.unfinished) return undefined
        const number = conversation.turns.length
        const turn = newTurn({ model, settings: this.#means.settings }, asked, conversation.length)
        await conversation.writeTurn(number, turn)
        conversation.turns.push(turn)
        return { conversation, number, isNew: true }
      })
      if (taken) return taken
    }
  }

  async follow(_id: string, position: EventPosition, by: Exchange): Promise<EventStream> {
    const conversation = await this.#read()
    return new EventStream(conversation, position, by.signal, () => this.#advance(conversation, by))
  }

  async delete(): Promise<void> {
    const conversation = await this.#read()
    this.#abandon()
    this.#means.budget()?.forget(this.#id)
    conversation.retire(new HttpError(404, 'NOT_FOUND', 'the conversation was deleted'))
    this.#conversation = undefined
    if (!(await this.#store.delete(this.#id))) throw unknownConversation()
  }

  async #read(): Promise<Conversation> {
    if (this.#conversation && !this.#conversation.isStale) return this.#conversation
    const stored = await this.#store.read(this.#id, LOG)
    if (!stored) throw unknownConversation()
    this.#abandon()
    this.#conversation = new Conversation(this.#store, this.#id, stored)
    stored.release?.()
    return this.#conversation
  }

  async #openFor({ head }: Conversation): ReturnType<ConversationMeans['open']> {
    const opened = await this.#means.open()
    if (head.model === opened.fingerprint) return opened
    throw new HttpError(409, 'CONFLICT', 'the conversation was held with another model than this')
  }

  /** Answers the turn that was left, to its end, unless somebody else does so. */
  async #answer(conversation: Conversation, by: Exchange): Promise<void> {
    while (conversation.unfinished && !conversation.isStale) {
      by.signal.throwIfAborted()
      await this.#advance(conversation, by)
    }
  }

  /** Brings the next token about, or waits a moment if another request does. */
  async #advance(conversation: Conversation, by: Exchange): Promise<void> {
    if (conversation.failure) throw conversation.failure
    const opened = await this.#openFor(conversation)
    const { unfinished } = conversation
    if (!unfinished) return
    const driver = this.#driverOf(conversation, unfinished, opened)
    if (driver.isStepping) return pause(LOOK_INTERVAL)
    this.#steppedAt = this.#means.now()
    try {
      await driver.step(by)
    } catch (error) {
      // what it knows may differ from what is stored
      if (conversation.isStale) conversation.retire(toHttpError(error))
      throw error
    } finally {
      this.#steppedAt = this.#means.now()
      if (driver.isOver && this.#means.drivers.get(this.#id) === driver) this.#means.drivers.delete(this.#id)
    }
  }

  #driverOf(conversation: Conversation, turn: Turn, { model, budget }: Awaited<ReturnType<ConversationMeans['open']>>): TurnDriver {
    const { drivers, snapshotInterval, now } = this.#means
    const before = drivers.get(this.#id)
    if (before && !before.isOver) return before
    before?.abandon()
    // those of objects that have ended, which hold their conversations' texts
    for (const [id, { isOver }] of drivers) if (isOver) drivers.delete(id)
    const driver = new TurnDriver(conversation, turn, { model, budget, store: this.#store, snapshotInterval, now })
    drivers.set(this.#id, driver)
    return driver
  }

  #abandon(): void {
    this.#means.drivers.get(this.#id)?.abandon()
    this.#means.drivers.delete(this.#id)
  }
}
