import type { LanguageModel } from '../../model/language-model.js'
import type { Session } from '../../model/session.js'
import type { Admitted, Places } from '../admission.js'
import type { Exchange } from '../exchange.js'
import { HttpError, overloaded } from '../http-error.js'
import { pause } from './pause.js'

/** Milliseconds after which a place that nobody uses is given to others: its request has gone, and its code with it. */
const LEASE = 30_000
/** The same for one whose work can be begun anew from what is stored, if others need the room. */
const RESUMABLE_LEASE = 2000
/** Milliseconds between two looks at whether there is room. */
const LOOK_INTERVAL = 20
/** Milliseconds without a look after which a request that waits is taken for gone. */
const WAIT_LEASE = 1000
/** Seconds after which a request that found no room may try again. */
const RETRY_AFTER = 2

/** What an isolate may take. */
export interface SessionBudgetOptions {
  /** Bytes of weights, scratch, sessions, their copies and snapshots. */
  readonly maxMemory: number
  /** Milliseconds that a request may wait for room. */
  readonly maxWait: number
  /** The time in milliseconds; default `Date.now`. */
  readonly now?: (() => number) | undefined
}

/** Room for sessions that are used. */
class Place {
  readonly sequences: number
  readonly abort: (reason: HttpError) => void
  readonly sessions = new Set<Session>()
  /** Whether what it is used for can be begun anew. */
  readonly isResumable: boolean
  usedAt: number

  constructor(sequences: number, abort: (reason: HttpError) => void, isResumable: boolean, now: number) {
    this.isResumable = isResumable
    this.sequences = sequences
    this.abort = abort
    this.usedAt = now
  }

  get byteLength(): number {
    let sum = 0
    for (const { byteLength } of this.sessions) sum += byteLength
    return sum
  }
}

/** A session between turns. */
export interface IdleSession {
  readonly session: Session
  /** What it has read. */
  readonly tokens: readonly number[]
  /** The position of the snapshot that is stored. */
  readonly snapshotAt: number
}

/**
 * The sessions of an isolate, within a budget of memory that counts weights, scratch, sessions, the copies that appends
 * make of them, and snapshots that are being written. To make room, sessions that are between turns are closed, the least
 * recently used first; what does not fit even so waits, by turns of its own and in the order of arrival.
 *
 * Whoever uses a session has a lease: the code of a request whose client has left may never run again.
 */
export class SessionBudget implements Places {
  reclaim: () => void = () => {}
  readonly #model: LanguageModel
  readonly #options: SessionBudgetOptions
  readonly #now: () => number
  readonly #places = new Set<Place>()
  /** Sessions between turns, by conversation, in the order of their last use. */
  readonly #idle = new Map<string, IdleSession>()
  /** Requests that wait, in the order of their arrival, and when they last looked. */
  readonly #waiting = new Map<object, number>()
  /** Bytes that are in use without any session. */
  readonly #baseBytes: number
  /** The largest session so far, which the next one is expected to be like. */
  #sessionBytes: number

  constructor(model: LanguageModel, options: SessionBudgetOptions) {
    this.#model = model
    this.#options = options
    this.#now = options.now ?? Date.now
    const sample = model.createSession()
    this.#sessionBytes = sample.byteLength
    sample.dispose()
    const { device, info } = model.runtime
    this.#baseBytes = info.memory.used
    // WebAssembly's memory grows now, and not in the middle of somebody's turn
    const bytes = Math.floor(options.maxMemory - this.#baseBytes)
    if (bytes > 0) device.allocate(bytes, 'the sessions of an isolate').dispose()
  }

  get running(): number {
    let sum = 0
    for (const { sequences } of this.#places) sum += sequences
    return sum
  }

  get queued(): number {
    return this.#waiting.size
  }

  /** Number of sessions between turns. */
  get idle(): number {
    return this.#idle.size
  }

  /**
   * @param onWait called at each look while it waits: given by those whose work can be begun anew
   * @throws HttpError 503; 413 for more sequences than ever fit
   */
  async admit(sequences: number, { signal, abort }: Pick<Exchange, 'signal' | 'abort'>, onWait?: () => void): Promise<Admitted> {
    if (sequences > 1 && this.#baseBytes + this.#needOf(sequences) > this.#options.maxMemory)
      throw new HttpError(413, 'TOO_LARGE', `${sequences} sequences at once take more memory than there is; ask for fewer`)
    const arrival = this.#now()
    const ticket = {}
    try {
      for (;;) {
        signal.throwIfAborted()
        this.#collect()
        if (this.#isFirst(ticket) && this.#makeRoom(sequences))
          return this.#open(
            new Place(sequences, abort, onWait !== undefined, this.#now()),
            this.#waiting.has(ticket) ? this.#now() - arrival : 0,
          )
        if (this.#now() - arrival >= this.#options.maxWait)
          throw overloaded(`${sequences} more sequences do not fit into the memory that may be used`, RETRY_AFTER)
        this.#waiting.set(ticket, this.#now())
        onWait?.()
        await pause(LOOK_INTERVAL)
      }
    } finally {
      this.#waiting.delete(ticket)
    }
  }

  /** Keeps a conversation's session between turns. */
  keep(id: string, idle: IdleSession): void {
    this.forget(id)
    this.#idle.set(id, idle)
  }

  /**
   * Gives a conversation's session, which becomes the caller's.
   * @param tokens what it must have read: an earlier object may have gone on without its words being stored
   */
  take(id: string, tokens: readonly number[]): IdleSession | undefined {
    const kept = this.#idle.get(id)
    if (!kept) return undefined
    this.#idle.delete(id)
    const isSame = kept.tokens.length === tokens.length && kept.tokens.every((token, index) => token === tokens[index])
    if (isSame) return kept
    kept.session.dispose()
    return undefined
  }

  /** Closes the session that was kept for a conversation, if there is one. */
  forget(id: string): void {
    this.#idle.get(id)?.session.dispose()
    this.#idle.delete(id)
  }

  #open(place: Place, waited: number): Admitted {
    this.#places.add(place)
    return {
      waited,
      hold: (session) => {
        place.sessions.add(session)
        if (!this.#places.has(place)) session.dispose()
        this.#sessionBytes = Math.max(this.#sessionBytes, session.byteLength)
      },
      touch: () => void (place.usedAt = this.#now()),
      release: (byteLength = 0) => {
        this.#sessionBytes = Math.max(this.#sessionBytes, byteLength)
        this.#places.delete(place)
      },
    }
  }

  /** Gives back what requests that have gone have left. */
  #collect(): void {
    const now = this.#now()
    for (const place of this.#places) {
      if (now - place.usedAt > LEASE) this.#takeBack(place)
    }
  }

  #takeBack(place: Place): void {
    this.#places.delete(place)
    place.abort(overloaded('nobody went on with this for too long; try again', 1))
    for (const session of place.sessions) session.dispose()
  }

  /** A place that nobody uses just now, and whose work can be begun anew. */
  get #leftAlone(): Place | undefined {
    const now = this.#now()
    return [...this.#places].find(({ isResumable, usedAt }) => isResumable && now - usedAt > RESUMABLE_LEASE)
  }

  #isFirst(ticket: object): boolean {
    const now = this.#now()
    for (const [other, lookedAt] of this.#waiting) {
      if (other === ticket) return true
      if (now - lookedAt <= WAIT_LEASE) return false
      this.#waiting.delete(other)
    }
    return true
  }

  #makeRoom(sequences: number): boolean {
    for (;;) {
      if (this.#used + this.#needOf(sequences) <= this.#options.maxMemory) return true
      const oldest = this.#idle.keys().next()
      if (!oldest.done) {
        this.forget(oldest.value)
        continue
      }
      const place = this.#leftAlone
      if (!place) return false
      this.#takeBack(place)
    }
  }

  /** Bytes in use, and those that places may still take. */
  get #used(): number {
    let sum = this.#model.runtime.info.memory.used
    for (const place of this.#places) sum += Math.max(0, this.#needOf(place.sequences) - place.byteLength)
    return sum
  }

  /** A session, its copy while an append overwrites state, and a quarter for its snapshot: novels-10m's are a fifth. */
  #needOf(sequences: number): number {
    return sequences * 2.25 * this.#sessionBytes
  }
}
