import type { LanguageModel } from '../../model/language-model.js'
import type { Session } from '../../model/session.js'
import type { Admitted } from '../admission.js'
import type { Conversation } from '../conversations/conversation.js'
import type { SessionKeeper } from '../conversations/idle-sessions.js'
import { SNAPSHOT, type Turn } from '../conversations/record.js'
import { answerTurn, type Ending, finishTurn } from '../conversations/turn-runner.js'
import type { Exchange } from '../exchange.js'
import { releaseBuffer } from '../release-buffer.js'
import type { ConversationStore } from '../stores/store.js'
import type { SessionBudget } from './session-budget.js'

/** Tokens of an append when a conversation is read again: what a driver does without a sign of life in between. */
const PIECE = 256
/** Milliseconds without a sign of life after which a step is taken for abandoned: its request has gone, and its code with it. */
const STALE = 5000

/** What a driver works with. */
export interface TurnMeans {
  readonly model: LanguageModel
  readonly budget: SessionBudget
  readonly store: ConversationStore
  /** Tokens after which a turn's end stores a snapshot. */
  readonly snapshotInterval: number
  /** The time in milliseconds. */
  readonly now: () => number
}

/**
 * Computes the answer of a conversation's last turn, step by step, for as long as somebody asks for steps: nothing runs
 * between requests here. Any request may take the next step; while one does, others look on.
 */
export class TurnDriver {
  readonly #conversation: Conversation
  readonly #turn: Turn
  readonly #means: TurnMeans
  #place: Admitted | undefined
  #session: Session | undefined
  #answer: AsyncGenerator<void, Ending, undefined> | undefined
  #isStepping = false
  /** When it last gave a sign of life. */
  #aliveAt: number
  #isOver = false

  /** @param turn the conversation's last one */
  constructor(conversation: Conversation, turn: Turn, means: TurnMeans) {
    this.#conversation = conversation
    this.#turn = turn
    this.#means = means
    this.#aliveAt = means.now()
  }

  /** Whether another must do the turn, if it is not at its end. */
  get isOver(): boolean {
    return this.#isOver || (this.#isStepping && this.#means.now() - this.#aliveAt > STALE)
  }

  /** Whether somebody takes a step just now. */
  get isStepping(): boolean {
    return this.#isStepping
  }

  /**
   * Brings the next token about, or the end of the turn.
   * @throws HttpError 503; whatever reading does
   */
  async step(by: Exchange): Promise<void> {
    this.#isStepping = true
    this.#touch()
    try {
      this.#answer ??= await this.#begin(by)
      if (this.#isOver) return
      const { done, value } = await this.#answer.next()
      if (this.#isOver) return
      if (done) await this.#finish(value, by)
    } catch (error) {
      // who took over tells what went wrong, if anything does
      if (this.#isOver) return
      this.abandon()
      throw error
    } finally {
      this.#isStepping = false
      this.#touch()
    }
  }

  /** Lets go of everything; the turn can be begun anew. */
  abandon(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#place?.release(this.#session?.byteLength)
    this.#session?.dispose()
  }

  #touch(): void {
    this.#aliveAt = this.#means.now()
    this.#place?.touch()
  }

  async #begin({ signal, usage }: Exchange): Promise<AsyncGenerator<void, Ending, undefined>> {
    const { budget } = this.#means
    const touch = () => this.#touch()
    const place = await budget.admit(1, { signal, abort: () => this.abandon() }, touch)
    if (this.#isOver) {
      place.release()
      throw new Error('the turn was begun anew meanwhile')
    }
    usage.queuedMilliseconds += place.waited
    this.#place = place
    const session = await this.#open()
    return answerTurn(this.#conversation, { session, hasRead: false }, undefined, touch)
  }

  /** A session that has read the conversation up to the beginning of the turn. */
  async #open(): Promise<Session> {
    const { budget } = this.#means
    const conversation = this.#conversation
    const { start } = this.#turn
    const tokens = conversation.tokens(0, start)
    const kept = budget.take(conversation.id, tokens)
    // an object that was here before has stored it
    if (kept) conversation.snapshotAt = kept.snapshotAt
    const session = kept?.session ?? (await this.#restore(start)) ?? this.#means.model.createSession()
    this.#hold(session)
    while (session.position < start) {
      await session.append(tokens.slice(session.position, session.position + PIECE))
      this.#touch()
    }
    return session
  }

  #hold(session: Session): void {
    this.#session = session
    this.#place!.hold(session)
    if (this.#isOver) session.dispose()
  }

  async #restore(position: number): Promise<Session | undefined> {
    const { model, store } = this.#means
    const stored = await store.read(this.#conversation.id, SNAPSHOT)
    const bytes = stored?.entries.get(SNAPSHOT)
    if (!bytes) return undefined
    let session: Session
    try {
      session = model.restoreSession(bytes)
    } catch (error) {
      // saved by another version: what it saves is read again
      if ((error as { code?: unknown }).code === 'BAD_FILE') return undefined
      throw error
    } finally {
      stored?.release?.()
    }
    this.#conversation.snapshotAt = session.position
    if (session.position <= position) return session
    session.dispose()
    return undefined
  }

  async #finish(ending: Ending, { usage }: Exchange): Promise<void> {
    const { budget, snapshotInterval } = this.#means
    const conversation = this.#conversation
    const session = this.#session!
    let snapshot: Uint8Array | undefined
    const keeper: SessionKeeper = {
      keep: ({ id, snapshotAt }) => budget.keep(id, { session, tokens: conversation.tokens(0, session.position), snapshotAt }),
      snapshotOf: () => {
        if (session.position - conversation.snapshotAt < snapshotInterval) return []
        return [[SNAPSHOT, (snapshot = session.save())]]
      },
    }
    const byteLength = session.byteLength
    const isKept = await finishTurn(conversation, session, ending, keeper)
    // the store has copied it
    if (snapshot) releaseBuffer(snapshot)
    const { prompt, ids } = this.#turn
    usage.promptTokens += prompt.length
    usage.completionTokens += ids.length
    this.#isOver = true
    this.#place!.release(byteLength)
    if (!isKept) session.dispose()
    conversation.changed()
  }
}
