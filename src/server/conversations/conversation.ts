import type { Session } from '../../model/session.js'
import { Mutex } from '../../mutex.js'
import { HttpError } from '../http-error.js'
import type { ConversationStore, StoredConversation } from '../stores/store.js'
import type { WorkItem } from '../work.js'
import { decodeLog, encodeTurn, type Head, NO_ENTRY, type Turn, turnEnd, turnName } from './record.js'

/** The store has something else than was expected, or nothing: another process has written, or the conversation is gone. */
export class WriteConflict extends HttpError {
  constructor() {
    super(409, 'CONFLICT', 'the conversation was changed or deleted elsewhere; try again')
  }
}

/** A conversation in memory: what the store has of it, and what is under way. */
export class Conversation {
  readonly id: string
  readonly head: Head
  readonly turns: Turn[]
  /** Serialises requests that change it. The turn that is running does so too, and excludes them by its being there. */
  readonly mutex = new Mutex()
  /** The turn that is being answered here. */
  running: WorkItem | undefined
  /** A session that has read all of its tokens, kept between turns. */
  session: Session | undefined
  /** The position of the stored snapshot, as far as it is known. */
  snapshotAt = 0
  /** When it was last used, in milliseconds. */
  usedAt = Date.now()
  /** Why its running turn is not followed any further. */
  failure: HttpError | undefined
  /** Whether it may differ from what is stored: whoever wants it must read it anew. */
  isStale = false
  readonly #store: ConversationStore
  #version: number
  readonly #listeners = new Set<() => void>()
  readonly #turnBytes: number[]

  constructor(store: ConversationStore, id: string, { version, entries }: StoredConversation) {
    const { head, turns } = decodeLog(entries)
    this.#store = store
    this.id = id
    this.#version = version
    this.head = head
    this.turns = turns
    this.#turnBytes = turns.map((_, number) => entries.get(turnName(number))!.length)
  }

  /** Tokens that are known. */
  get length(): number {
    const last = this.turns.at(-1)
    return last ? turnEnd(last) : 0
  }

  /** Bytes of its turns in the store: a measure of what they take here. */
  get byteLength(): number {
    return this.#turnBytes.reduce((sum, bytes) => sum + bytes, 0)
  }

  /** The turn whose answer is not complete. */
  get unfinished(): Turn | undefined {
    const last = this.turns.at(-1)
    return last?.end === null ? last : undefined
  }

  /** The tokens from one position to another. */
  tokens(from: number, to: number): number[] {
    const tokens: number[] = []
    for (const { start, prompt, ids } of this.turns) {
      if (start >= to || start + prompt.length + ids.length <= from) continue
      const all = [...prompt, ...ids]
      for (const id of all.slice(Math.max(0, from - start), Math.max(0, to - start))) tokens.push(id)
    }
    return tokens
  }

  /** Stores a turn under its number. @throws as `write` */
  async writeTurn(number: number, turn: Turn, more: readonly (readonly [string, Uint8Array])[] = []): Promise<void> {
    const bytes = encodeTurn(turn)
    await this.write(new Map([[turnName(number), bytes], ...more]))
    this.#turnBytes[number] = bytes.length
  }

  /** @throws WriteConflict; whatever the store throws */
  async write(entries: ReadonlyMap<string, Uint8Array>): Promise<void> {
    let isWritten = false
    try {
      isWritten = await this.#store.write(this.id, this.#version + 1, entries)
      if (isWritten) this.#version++
    } finally {
      if (!isWritten) this.isStale = true
    }
    if (!isWritten) throw new WriteConflict()
  }

  /** Whether the store has of it what is here: another process may have written. @throws whatever the store throws */
  async isCurrent(): Promise<boolean> {
    return (await this.#store.read(this.id, NO_ENTRY))?.version === this.#version
  }

  /** Calls a listener at each change: another token, the end of a turn, a failure. @returns removes it */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  changed(): void {
    for (const listener of [...this.#listeners]) listener()
  }

  /** Lets go of everything: nothing more happens to this object. @param failure told to those who follow a turn of it */
  retire(failure?: HttpError): void {
    this.isStale = true
    this.failure ??= failure
    this.session?.dispose()
    this.session = undefined
    this.changed()
  }
}
