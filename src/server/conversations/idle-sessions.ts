import type { LanguageModel } from '../../model/language-model.js'
import type { PrefixCache } from '../../model/prefix-cache.js'
import type { Session } from '../../model/session.js'
import type { Settings } from '../options.js'
import type { ConversationStore } from '../stores/store.js'
import type { Conversation } from './conversation.js'
import { SNAPSHOT, type Turn } from './record.js'

/** Tokens after which a turn's end stores a snapshot: what comes after the last one is read again by a new process. */
const SNAPSHOT_INTERVAL = 2048
/** Fewer tokens are read again rather than stored: restoring takes as long as reading 40 to 64 (novels-10m, 20 ms). */
const LEAST_STORED = 128
/** Milliseconds after which a session that nobody used gives its memory back. */
const IDLE_TIME = 300_000

/** A session to answer a turn with. */
export interface OpenedSession {
  readonly session: Session
  /** Whether it has read the turn's words as well. */
  readonly hasRead: boolean
  /** How many of its tokens had been read for others. */
  readonly cachedTokens: number
}

/** Keeps sessions between turns. */
export interface SessionKeeper {
  /** Keeps the session of a conversation between its turns. */
  keep(conversation: Conversation, session: Session): void
  /** The entry to be stored with the end of a turn: a snapshot now and then. */
  snapshotOf(conversation: Conversation, session: Session): [string, Uint8Array][]
}

/**
 * The sessions of conversations. Between turns a session stays in memory while there is room for it; then it is stored,
 * and restored on demand. What is not stored is read again from the conversation's tokens: the bits are the same.
 */
export class IdleSessions implements SessionKeeper {
  readonly #model: LanguageModel
  readonly #store: ConversationStore
  readonly #maxBytes: number
  /** Whether a turn may wait for words that another request reads: not on edge workers. */
  readonly #sharesReading: boolean
  /** The conversations that have one, in the order of their last use. */
  readonly #idle = new Set<Conversation>()

  constructor(model: LanguageModel, { store, maxIdleMemory, maxQueue }: Settings) {
    this.#model = model
    this.#store = store
    this.#maxBytes = maxIdleMemory
    this.#sharesReading = maxQueue > 0
  }

  /** Bytes that they take together: their state, and their last logits. */
  get byteLength(): number {
    const logitsBytes = this.#model.config.numTokens * Float32Array.BYTES_PER_ELEMENT
    let sum = 0
    for (const { session } of this.#idle) if (session) sum += session.byteLength + logitsBytes
    return sum
  }

  /**
   * Gives a session that has read the conversation up to the beginning of a turn, which becomes the caller's.
   * @param prefixes what prompts have in common: those of first turns are read once
   * @throws whatever reading does, or the signal's reason
   */
  async open(conversation: Conversation, { start }: Turn, prefixes: PrefixCache, signal: AbortSignal): Promise<OpenedSession> {
    const { session: kept } = conversation
    conversation.session = undefined
    this.#idle.delete(conversation)
    if (kept?.position === start) return { session: kept, hasRead: false, cachedTokens: 0 }
    kept?.dispose()
    const restored = await this.#restore(conversation, start)
    const first = restored ?? (await prefixes.read(conversation.turns[0]!.prompt, { signal, share: this.#sharesReading }))
    const { session, cachedTokens } = 'session' in first ? first : { session: first, cachedTokens: 0 }
    try {
      if (session.position < start) await session.append(conversation.tokens(session.position, start), { signal })
      return { session, hasRead: session.position > start, cachedTokens }
    } catch (error) {
      session.dispose()
      throw error
    }
  }

  async #restore(conversation: Conversation, position: number): Promise<Session | undefined> {
    const bytes = (await this.#store.read(conversation.id, SNAPSHOT))?.entries.get(SNAPSHOT)
    if (!bytes) return undefined
    let session: Session
    try {
      session = this.#model.restoreSession(bytes)
    } catch (error) {
      // saved by another version: what it saves is read again
      if ((error as { code?: unknown }).code === 'BAD_FILE') return undefined
      throw error
    }
    conversation.snapshotAt = session.position
    if (session.position <= position) return session
    session.dispose()
    return undefined
  }

  /** A saved session of the conversation: of all its tokens if it is in memory, else as it was stored last. */
  async snapshot(conversation: Conversation): Promise<Uint8Array | undefined> {
    const { session } = conversation
    if (session && session.position - conversation.snapshotAt >= LEAST_STORED) return session.save()
    return (await this.#store.read(conversation.id, SNAPSHOT))?.entries.get(SNAPSHOT)
  }

  keep(conversation: Conversation, session: Session): void {
    conversation.session = session
    this.#idle.delete(conversation)
    this.#idle.add(conversation)
  }

  snapshotOf(conversation: Conversation, session: Session): [string, Uint8Array][] {
    return session.position - conversation.snapshotAt < SNAPSHOT_INTERVAL ? [] : [[SNAPSHOT, session.save()]]
  }

  /** Stores the sessions that were not used for longest, and gives their memory back, until those left may stay. */
  async tidy(maxBytes = this.#maxBytes): Promise<void> {
    for (const conversation of [...this.#idle]) {
      const isOld = Date.now() - conversation.usedAt > IDLE_TIME
      if (!isOld && this.byteLength <= maxBytes) return
      await conversation.mutex.runExclusive(() => this.#putAway(conversation))
    }
  }

  async #putAway(conversation: Conversation): Promise<void> {
    this.#idle.delete(conversation)
    const { session } = conversation
    conversation.session = undefined
    if (!session) return
    const { position } = session
    try {
      if (position - conversation.snapshotAt < LEAST_STORED || conversation.isStale) return
      const bytes = session.save()
      session.dispose()
      await conversation.write(new Map([[SNAPSHOT, bytes]]))
      conversation.snapshotAt = position
    } catch {
      // it is read again then, from what the store has
    } finally {
      session.dispose()
    }
  }

  /** Lets go of a conversation's session. */
  forget(conversation: Conversation): void {
    this.#idle.delete(conversation)
  }
}
