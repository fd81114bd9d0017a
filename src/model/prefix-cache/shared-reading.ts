import type { Signal } from '../../platform.js'
import type { Session } from '../session.js'

/** Someone who waits until a reading has come to a position. */
interface Waiter {
  readonly position: number
  /** @param tokensRead position of the reading */
  readonly onRead: ((tokensRead: number) => void) | undefined
  readonly resolve: (session: Session) => void
  readonly reject: (reason: unknown) => void
}

/** How a reading is done. */
export interface ReadingPlan {
  /** All that may be read. */
  readonly ids: Int32Array
  /** Where it begins: no waiter can be served before. */
  readonly start: number
  /** Opens a session that has read `start` ids. It may wait for another reading. */
  readonly open: (signal: Signal, onRead: (tokensRead: number) => void) => Session | Promise<Session>
  /** Positions at which `onStop` is called, besides those that are waited for. */
  readonly stops: readonly number[]
  readonly onStop: (session: Session, position: number) => void
  /** Most tokens of an append: who comes while one is under way can be served only from its end on. */
  readonly piece: number
  /** Whether more than one may wait for it. */
  readonly isShared: boolean
  /** Called once nobody can join any more. */
  readonly onEnd: () => void
}

/**
 * Reads token ids once for everyone who waits for a prefix of them, each of whom gets a session of its own. It begins
 * with its first waiter, goes on for as long as anyone waits, whoever came first, and reads no further than they need.
 */
export class SharedReading {
  readonly ids: Int32Array
  readonly #plan: ReadingPlan
  readonly #waiters = new Set<Waiter>()
  readonly #abort = new AbortController()
  /** Position after the append under way. */
  #reached: number
  #isBegun = false
  #hasEnded = false
  /** Its own session, until it is given away. */
  #session: Session | undefined

  constructor(plan: ReadingPlan) {
    this.ids = plan.ids
    this.#plan = plan
    this.#reached = plan.start
  }

  /** Whether another may still get a session at this position. */
  canServe(position: number): boolean {
    return this.#plan.isShared && !this.#hasEnded && position >= this.#reached && position <= this.ids.length
  }

  /**
   * @param position one that it can serve
   * @returns a session that has read as many ids, owned by the caller; rejects with the signal's reason, with whatever
   * `onRead` threw, or with the error that ended the reading
   */
  sessionAt(position: number, signal: Signal | undefined, onRead?: (tokensRead: number) => void): Promise<Session> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiters.delete(waiter)
        signal?.removeEventListener('abort', abort)
      }
      const waiter: Waiter = {
        position,
        onRead,
        resolve: (session) => {
          leave()
          resolve(session)
        },
        reject: (reason) => {
          leave()

          reject(reason)
          if (this.#waiters.size === 0) this.#end()
        },
      }
      const abort = () => waiter.reject(signal!.reason)
      this.#waiters.add(waiter)
      signal?.addEventListener('abort', abort)
      if (!this.#isBegun) void this.#read()
    })
  }

  /** Rejects all who wait. */
  stop(reason: unknown): void {
    for (const waiter of [...this.#waiters]) waiter.reject(reason)
  }

  async #read(): Promise<void> {
    this.#isBegun = true
    try {
      const session = await this.#plan.open(this.#abort.signal, (tokensRead) => this.#report(tokensRead))
      this.#session = session
      while (this.#waiters.size > 0) {
        const { position } = session
        const next = this.#nextStop(position)
        if (next === position) {
          this.#plan.onStop(session, position)
          if (this.#serve(session, position)) return
          continue
        }
        this.#reached = Math.min(next, position + this.#plan.piece)
        await session.append(this.ids.subarray(position, this.#reached), { signal: this.#abort.signal })
        this.#report(this.#reached)
        if (this.#plan.stops.includes(this.#reached) && !this.#isAwaited(this.#reached)) this.#plan.onStop(session, this.#reached)
      }
    } catch (error) {
      this.stop(error)
    } finally {
      this.#end()
      this.#session?.dispose()
    }
  }

  /** The nearest position, from the current one on, that someone waits for or that is a stop. */
  #nextStop(position: number): number {
    const awaited = [...this.#waiters].map((waiter) => waiter.position)
    return Math.min(...awaited, ...this.#plan.stops.filter((stop) => stop > position))
  }

  #isAwaited(position: number): boolean {
    return [...this.#waiters].some((waiter) => waiter.position === position)
  }

  /**
   * Gives a session to each who waits for this position: the reading's own to the last of them, if nobody waits for
   * more. @returns whether it was given away
   */
  #serve(session: Session, position: number): boolean {
    const served = [...this.#waiters].filter((waiter) => waiter.position === position)
    const isLast = served.length === this.#waiters.size
    if (isLast) {
      this.#session = undefined
      this.#end()
    }
    served.forEach((waiter, index) => {
      if (isLast && index === served.length - 1) return waiter.resolve(session)
      try {
        waiter.resolve(session.clone())
      } catch (error) {
        waiter.reject(error)
      }
    })
    return isLast
  }

  #report(tokensRead: number): void {
    for (const waiter of [...this.#waiters]) {
      try {
        waiter.onRead?.(tokensRead)
      } catch (error) {
        waiter.reject(error)
      }
    }
  }

  /** Ends it for newcomers, and the work, if any is under way. */
  #end(): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#plan.onEnd()
    this.#abort.abort()
    // not left to the append under way: where callers are isolated, it may never go on
    this.#session?.dispose()
  }
}
