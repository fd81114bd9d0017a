import { describe, RoutedAttentionError } from '../errors.js'
import type { Session } from '../model/session.js'
import { checkOptions, namesOf } from '../options.js'

/** Options of `SessionTable`. */
export interface SessionTableOptions {
  /** How long a session stays after its last use, in milliseconds; default 60,000. */
  lease?: number | undefined
  /** The time in milliseconds; default `Date.now`. */
  now?: (() => number) | undefined
}

const SESSION_TABLE_OPTIONS = namesOf<SessionTableOptions>({ lease: true, now: true })

interface Lease {
  readonly session: Session
  end: number
}

/**
 * The sessions of one process or isolate, by id, each with a lease. On edge workers, code of a request whose client has
 * left may never run again, not even `finally`: what it holds is given back by the next call of anyone, once the lease has
 * ended. Needs no timers, which such requests lose too.
 */
export class SessionTable {
  readonly #lease: number
  readonly #now: () => number
  /** In the order of the leases' ends. */
  readonly #leases = new Map<string, Lease>()

  /** @throws RoutedAttentionError `BAD_ARGUMENT` */
  constructor(options: SessionTableOptions = {}) {
    checkOptions('SessionTable', options, SESSION_TABLE_OPTIONS)
    const { lease = 60_000, now = Date.now } = options
    if (typeof lease !== 'number' || !(lease > 0))
      throw new RoutedAttentionError('BAD_ARGUMENT', `SessionTable: lease must be a number above 0, got ${describe(lease)}`)
    if (typeof now !== 'function')
      throw new RoutedAttentionError('BAD_ARGUMENT', `SessionTable: now must be a function, got ${describe(now)}`)
    this.#lease = lease
    this.#now = now
  }

  /** Number of sessions whose leases have not ended. */
  get size(): number {
    this.collect()
    return this.#leases.size
  }

  /**
   * Takes a session over: `delete`, or the end of its lease, disposes of it.
   * @throws RoutedAttentionError `BAD_ARGUMENT` if there is one of this id
   */
  add(id: string, session: Session): void {
    this.collect()
    if (this.#leases.has(id)) throw new RoutedAttentionError('BAD_ARGUMENT', 'SessionTable: there is a session of this id already')
    this.#leases.set(id, { session, end: this.#now() + this.#lease })
  }

  /** The session of an id, whose lease begins anew; undefined if there is none, or none any more. */
  use(id: string): Session | undefined {
    this.collect()
    const lease = this.#leases.get(id)
    if (!lease) return undefined
    this.#leases.delete(id)
    lease.end = this.#now() + this.#lease
    this.#leases.set(id, lease)
    return lease.session
  }

  /** Disposes of a session; @returns whether there was one of this id */
  delete(id: string): boolean {
    this.collect()
    const lease = this.#leases.get(id)
    this.#leases.delete(id)
    lease?.session.dispose()
    return lease !== undefined
  }

  /** Disposes of all sessions whose leases have ended; @returns their number. All other methods call it first. */
  collect(): number {
    const now = this.#now()
    let collected = 0
    for (const [id, { session, end }] of this.#leases) {
      if (end > now) break
      this.#leases.delete(id)
      session.dispose()
      collected++
    }
    return collected
  }
}
