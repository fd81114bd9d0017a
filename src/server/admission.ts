import type { LanguageModel } from '../model/language-model.js'
import type { Session } from '../model/session.js'
import type { Exchange } from './exchange.js'
import { overloaded } from './http-error.js'
import type { Settings } from './options.js'

/** A place for some sequences. */
export interface Admitted {
  /** Milliseconds that it waited. */
  readonly waited: number
  /** Names a session that is used here, so that it does not outlive a place that nobody gives back. */
  hold(session: Session): void
  /** Tells that it is still used. */
  touch(): void
  /** Gives the place to others; called once. @param byteLength the largest of its sessions */
  release(byteLength?: number): void
}

/** Gives out places. */
export interface Places {
  /** Sequences that have a place. */
  readonly running: number
  /** Requests that wait for one. */
  readonly queued: number
  /** Called when the memory is full: gives back what can be read again, for the next attempt. */
  reclaim: () => void
  /**
   * Waits for a place.
   * @param sequences how many are read or continued at the same time, at most `maxConcurrent`
   * @param by the request that it is for
   * @throws HttpError 503 if the queue or the memory is full; or the signal's reason
   */
  admit(sequences: number, by: Pick<Exchange, 'signal' | 'abort'>): Promise<Admitted>
}

interface Waiting {
  readonly sequences: number
  readonly begin: () => void
  readonly refuse: (error: Error) => void
}

/** Decides which sequences may be begun: so many at a time, in the order of their requests, and only while there is memory. */
export class Admission implements Places {
  readonly #model: LanguageModel
  readonly #settings: Settings
  reclaim: () => void = () => {}
  readonly #waiting: Waiting[] = []
  #running = 0
  /** Bytes of the largest session so far, which the next one is expected to take. */
  #sessionBytes = 0
  /** Mean of the milliseconds that a place is held, later ones counting more. */
  #held = 1000

  constructor(model: LanguageModel, settings: Settings) {
    this.#model = model
    this.#settings = settings
  }

  get running(): number {
    return this.#running
  }

  get queued(): number {
    return this.#waiting.length
  }

  async admit(sequences: number, { signal }: Pick<Exchange, 'signal'>): Promise<Admitted> {
    signal.throwIfAborted()
    this.#checkMemory(sequences)
    const arrival = performance.now()
    const mustWait = this.#waiting.length > 0 || !this.#fits(sequences)
    if (mustWait) await this.#wait(sequences, signal)
    else this.#running += sequences
    const begin = performance.now()
    return {
      // the clock may have gone on in between
      waited: mustWait ? begin - arrival : 0,
      hold: () => {},
      touch: () => {},
      release: (byteLength = 0) => {
        this.#sessionBytes = Math.max(this.#sessionBytes, byteLength)
        this.#held += (performance.now() - begin - this.#held) / 8
        this.#running -= sequences
        this.#advance()
      },
    }
  }

  #fits(sequences: number): boolean {
    return this.#running + sequences <= this.#settings.maxConcurrent
  }

  #wait(sequences: number, signal: AbortSignal): Promise<void> {
    const { maxQueue } = this.#settings
    if (this.#waiting.length >= maxQueue) throw overloaded(`${maxQueue} requests are waiting already`, this.#delay)
    return new Promise((resolve, reject) => {
      const settle = (how: () => void) => () => {
        signal.removeEventListener('abort', leave)
        how()
      }
      const entry: Waiting = { sequences, begin: settle(resolve), refuse: (error) => settle(() => reject(error))() }
      const leave = settle(() => {
        this.#waiting.splice(this.#waiting.indexOf(entry), 1)
        reject(signal.reason as Error)
        this.#advance() // smaller ones may have waited behind it
      })
      signal.addEventListener('abort', leave)
      this.#waiting.push(entry)
    })
  }

  /** Begins those that waited longest. */
  #advance(): void {
    for (let next = this.#waiting[0]; next && this.#fits(next.sequences); next = this.#waiting[0]) {
      this.#waiting.shift()
      try {
        this.#checkMemory(next.sequences)
        this.#running += next.sequences
        next.begin()
      } catch (error) {
        next.refuse(error as Error)
      }
    }
  }

  #checkMemory(sequences: number): void {
    const { maxMemory } = this.#settings
    if (this.#model.runtime.info.memory.used + sequences * this.#sessionBytes <= maxMemory) return
    this.reclaim()
    throw overloaded(`${sequences} more sequences do not fit into the ${maxMemory} bytes of memory that may be used`, this.#delay)
  }

  /** Seconds until the queue may have become shorter. */
  get #delay(): number {
    return Math.min(60, this.#held / 1000)
  }
}
