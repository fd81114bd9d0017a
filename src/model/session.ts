import { RoutedAttentionError } from '../errors.js'
import { type Interrupt, interruptBy } from '../interrupt.js'
import { checkOptions } from '../options.js'
import type { Signal } from '../platform.js'
import { breathe } from '../breathe.js'
import { Lifetime } from './lifetime.js'
import type { ModelHome } from './model-home.js'
import { RecentIds } from './recent-ids.js'
import { retryForMemory } from './retry.js'
import { encodeSession } from './session-bytes.js'
import type { Sequence } from './sequence.js'
import { checkTokenIds, singleTokenId, type TokenIds } from './token-ids.js'
import { Turns } from '../turns.js'

/** What a session needs of its model. */
export interface SessionOwner {
  readonly lifetime: Lifetime
  readonly numTokens: number
  readonly maxPositions: number | null
  readonly fingerprint: Uint8Array
  readonly home: ModelHome
  /** The lives of the sessions that hold memory. */
  readonly sessions: Set<Lifetime>
  /** Whose sessions they are: it lives as long as one of them. */
  readonly model: object
}

/** What a session's memory is: the sequence, which changes place as it grows. */
class SessionMemory {
  constructor(public sequence: Sequence) {}

  dispose(): void {
    this.sequence.dispose()
  }
}

export interface AppendOptions {
  /** Its reason rejects the call, and the session stays as it was. */
  signal?: Signal | undefined
}

/** Beyond, the next position is not another number; saved bytes may claim that a sequence is as long. */
const MOST_POSITIONS = Number.MAX_SAFE_INTEGER

const APPEND_OPTIONS = ['signal']

/** An open sequence: tokens are appended, logits come back, and nothing is computed twice (for `causal` models). */
export class Session {
  readonly #owner: SessionOwner
  readonly #memory: SessionMemory
  readonly #lifetime: Lifetime
  /** After the last token: its own, written over by the next. */
  #logits: Float32Array | undefined
  readonly #recentIds = new RecentIds()
  /** Of the last append that has settled. */
  #position: number
  #byteLength: number
  /** Appends take effect in the order of the calls. */
  readonly #turns = new Turns()

  /** @internal Use `model.createSession()` or `model.restoreSession(bytes)`. @param recentIds the sequence's last ids, as many as are kept */
  constructor(owner: SessionOwner, sequence: Sequence, logits: Float32Array | undefined, recentIds: Int32Array) {
    this.#owner = owner
    this.#memory = new SessionMemory(sequence)
    this.#logits = logits
    this.#position = sequence.position
    this.#recentIds.addAll(this.#position - recentIds.length, recentIds)
    this.#byteLength = sequence.byteLength
    this.#lifetime = new Lifetime(owner.lifetime.runtime, this, 'session', this.#memory, owner.sessions)
  }

  /** Tokens read so far. */
  get position(): number {
    return this.#position
  }

  /** Bytes that it holds of `runtime.info.memory.used`. */
  get byteLength(): number {
    return this.#lifetime.disposed ? 0 : this.#byteLength
  }

  /** @internal A copy of the last ids that it has read, oldest first: 16, or all where there are fewer. */
  get recentIds(): Int32Array {
    return this.#recentIds.at(this.#position)
  }

  /**
   * Reads tokens on. However a text is split over calls, the logits after it have the same bits. Calls take effect in their order; one that fails
   * leaves the session as it was. `append([])` repeats the last logits.
   * @returns logits after the last token, [V]; the caller's own
   * @throws RoutedAttentionError `BAD_ARGUMENT` (a token id; beyond `max_positions`; nothing to repeat), `OUT_OF_MEMORY`, `DISPOSED`; or the signal's reason
   */
  async append(tokenIds: TokenIds, options: AppendOptions = {}): Promise<Float32Array> {
    this.#assertUsable()
    checkOptions('append', options, APPEND_OPTIONS)
    const { signal } = options
    signal?.throwIfAborted()
    if (this.#step(singleTokenId(tokenIds, this.#owner.numTokens))) {
      const logits = this.#logits!.slice()
      const turning = breathe()
      if (turning) await turning
      return logits
    }
    const ids = checkTokenIds('append', tokenIds, this.#owner.numTokens)
    const interrupt = interruptBy(signal, this.#lifetime, this.#owner.lifetime)
    const append = () => retryForMemory(() => this.#append(ids, interrupt))
    return this.#turns.take(() => this.#lifetime.use(() => this.#owner.lifetime.use(append)), interrupt)
  }

  /** Reads one token within the call, if that can be: of a long continuation, nearly every one. Nothing is allocated for it. */
  #step(tokenId: number): boolean {
    const { maxPositions, numTokens, home } = this.#owner
    if (tokenId < 0 || this.#turns.taken || this.#position >= (maxPositions ?? MOST_POSITIONS)) return false
    this.#memory.sequence = home.settle(this.#memory.sequence)
    const logits = this.#logits ?? new Float32Array(numTokens)
    if (!this.#memory.sequence.step(tokenId, logits)) return false
    this.#logits = logits
    this.#recentIds.add(this.#position, tokenId)
    this.#position = this.#memory.sequence.position
    return true
  }

  async #append(ids: Int32Array, interrupt: Interrupt): Promise<Float32Array> {
    interrupt.check() // while it waited for its turn
    const { maxPositions } = this.#owner
    if (maxPositions !== null && this.#position + ids.length > maxPositions) {
      throw new RoutedAttentionError(
        'BAD_ARGUMENT',
        `append: ${ids.length} tokens behind ${this.#position} are beyond the ${maxPositions} positions (max_positions) of this model`,
      )
    }
    if (this.#position + ids.length > MOST_POSITIONS)
      throw new RoutedAttentionError('BAD_ARGUMENT', `append: ${ids.length} tokens behind ${this.#position} are more than can be counted`)
    if (ids.length > 0) {
      this.#memory.sequence = this.#owner.home.settle(this.#memory.sequence)
      const pause = () => {
        interrupt.check()
        return breathe()
      }
      const { answer, commit } = await this.#memory.sequence.append(ids, { rows: 'last' }, pause, interrupt)
      commit()
      this.#logits = answer.logits
      this.#recentIds.addAll(this.#position, ids)
      this.#position = this.#memory.sequence.position
      this.#byteLength = this.#memory.sequence.byteLength
    }
    if (!this.#logits)
      throw new RoutedAttentionError('BAD_ARGUMENT', 'append: a new session has no last logits to repeat; append at least one token')
    return this.#logits.slice()
  }

  #assertUsable(): void {
    this.#lifetime.assertUsable()
    this.#owner.lifetime.assertUsable()
  }

  /**
   * Another session at the same place, independent of this one.
   * @throws RoutedAttentionError `OUT_OF_MEMORY`, `DISPOSED`
   */
  clone(): Session {
    this.#assertUsable()
    this.#memory.sequence = this.#owner.home.settle(this.#memory.sequence)
    return new Session(this.#owner, this.#memory.sequence.clone(), this.#logits?.slice(), this.recentIds)
  }

  /**
   * The session as bytes, for `restoreSession` of the same model on any machine.
   * @throws RoutedAttentionError `DISPOSED`
   */
  save(): Uint8Array {
    this.#assertUsable()
    return encodeSession(this.#owner.fingerprint, {
      position: this.#position,
      logits: this.#logits,
      recentIds: this.recentIds,
      sequence: this.#memory.sequence.save(),
    })
  }

  /** Gives its memory back, once appends under way have ended. Idempotent. A session that nobody disposes of does so when it is collected, some time. */
  dispose(): void {
    this.#lifetime.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
