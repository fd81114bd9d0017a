import { yieldToEventLoop } from '../event-loop.js'
import { RoutedAttentionError } from '../errors.js'
import { type Interrupt, interruptBy } from '../interrupt.js'
import type { Signal } from '../platform.js'
import { type AppendOptions, type AppendRequest, type AppendResult, checkAppendOptions } from './append-options.js'
import { appendTokens, busy, checkPositions, MAX_POSITIONS } from './append-tokens.js'
import { generate, type GeneratedToken, type Reading } from './generation/generate.js'
import { type GenerateOptions, resolveGeneration } from './generation/generate-options.js'
import { checkInspectOptions, type InspectOptions, type Inspection } from './inspection.js'
import { inspectSequence } from './inspect-sequence.js'
import { Lifetime } from './lifetime.js'
import { RecentIds } from './generation/recent-ids.js'
import { retryForMemory } from './retry-for-memory.js'
import { encodeSession } from './session-bytes.js'
import type { SessionOwner } from './session-owner.js'
import type { Sequence } from './executor/sequence.js'
import { checkTokenIds, singleTokenId, type TokenIds } from './text/token-ids.js'
import { Mutex } from '../mutex.js'

/** The memory a session owns: its sequence, which is reallocated as it grows. */
class SessionMemory {
  constructor(public sequence: Sequence) {}

  dispose(): void {
    this.sequence.dispose()
  }
}

/** An open sequence: append tokens, get logits back. For `causal` models nothing is computed twice. */
export class Session {
  readonly #owner: SessionOwner
  readonly #memory: SessionMemory
  readonly #lifetime: Lifetime
  /** Logits after the last token, in a buffer that the next append may overwrite. */
  #logits: Float32Array | undefined
  /** Another buffer, for those of a token that may yet fail. */
  #spareLogits: Float32Array | undefined
  readonly #recentIds = new RecentIds()
  /** Position after the last append that completed. */
  #position: number
  #byteLength: number
  /** Serialises appends in call order. */
  readonly #mutex = new Mutex()
  /** Whether a generation has exclusive use of the session. */
  #isGenerating = false

  /**
   * @internal Use `model.createSession()` or `model.restoreSession(bytes)`.
   * @param recentIds the sequence's last ids, as many as are kept
   */
  constructor(owner: SessionOwner, sequence: Sequence, logits: Float32Array | undefined, recentIds: Int32Array) {
    this.#owner = owner
    this.#memory = new SessionMemory(sequence)
    this.#logits = logits
    this.#position = sequence.position
    this.#recentIds.addAll(this.#position - recentIds.length, recentIds)
    this.#byteLength = sequence.byteLength
    this.#lifetime = new Lifetime(owner.lifetime.runtime, this, 'session', this.#memory, owner.sessions)
  }

  /** Number of tokens read so far. */
  get position(): number {
    return this.#position
  }

  /** Bytes this session accounts for in `runtime.info.memory.used`. */
  get byteLength(): number {
    return this.#lifetime.disposed ? 0 : this.#byteLength
  }

  /** @internal A copy of the last 16 ids read (or all, if fewer), oldest first. */
  get recentIds(): Int32Array {
    return this.#recentIds.at(this.#position)
  }

  /** @internal Whether it is a session of this model. */
  isOf(model: object): boolean {
    return this.#owner.model === model
  }

  /**
   * Reads more tokens. However a text is split over calls, the logits after it are bit-identical. Calls take effect in
   * order; one that fails leaves the session unchanged. `append([])` repeats the last logits.
   * @returns logits after the last token, [V], owned by the caller; with `bits`, also the surprisal of each token
   * @throws RoutedAttentionError `BAD_ARGUMENT` (an invalid token id or option; too many tokens for `max_positions`;
   * nothing to repeat; a generation in progress), `OUT_OF_MEMORY`, `DISPOSED`; or the signal's reason
   */
  append(tokenIds: TokenIds, options?: AppendOptions & { bits?: false | undefined }): Promise<Float32Array>
  /** The same, with the bits of each token. */
  append(tokenIds: TokenIds, options: AppendOptions & { bits: true }): Promise<AppendResult>
  /** The same, for options whose `bits` is not known in advance. */
  append(tokenIds: TokenIds, options?: AppendOptions): Promise<Float32Array | AppendResult>
  async append(tokenIds: TokenIds, options: AppendOptions = {}): Promise<Float32Array | AppendResult> {
    this.#assertUsable()
    const { signal, bits } = checkAppendOptions(options)
    signal?.throwIfAborted()
    if (this.#isGenerating) throw busy('append')
    if (!bits) return this.#read(tokenIds, { signal })
    const ids = checkTokenIds('append', tokenIds, this.#owner.numTokens)
    return this.#appendInTurn(ids, { signal, bits })
  }

  /** @returns logits after the last token */
  async #read(tokenIds: TokenIds, request: AppendRequest): Promise<Float32Array> {
    // A single step completes before progress could be reported, and cannot be undone
    if (!request.onRead && this.#step(singleTokenId(tokenIds, this.#owner.numTokens))) {
      const logits = request.borrows ? this.#logits! : this.#logits!.slice()
      const turning = yieldToEventLoop()
      if (turning) await turning
      return logits
    }
    const ids = checkTokenIds('append', tokenIds, this.#owner.numTokens)
    return (await this.#appendInTurn(ids, request)).logits
  }

  #appendInTurn(ids: Int32Array, request: AppendRequest): Promise<AppendResult> {
    return this.#inTurn(request.signal, (interrupt) => this.#append(ids, request, interrupt))
  }

  /** Runs work that leaves the session unchanged if it fails, after all that was called before. */
  #inTurn<T>(signal: Signal | undefined, use: (interrupt: Interrupt) => Promise<T>): Promise<T> {
    const interrupt = this.#interruptBy(signal)
    const work = () => retryForMemory(() => use(interrupt))
    return this.#mutex.runExclusive(() => this.#lifetime.use(() => this.#owner.lifetime.use(work)), interrupt)
  }

  /**
   * Continues the text from the current position, token by token. When the generation ends, for whatever reason
   * (including `break` and errors), the session has read the prompt and every token that was yielded; after an abort or
   * an error while reading the prompt, it is unchanged. From the first `next()` until then, `append` and other
   * generations are refused; earlier appends take effect first. Penalties and `logitsProcessor` see this call's prompt
   * and output only.
   * @param prompt text or token ids to read first; null for none
   * @throws RoutedAttentionError `BAD_ARGUMENT`, `UNSUPPORTED` (text without a tokenizer). From `next()`:
   * `OUT_OF_MEMORY`, `DISPOSED`, `NUMERIC`, `BAD_ARGUMENT` (null for a session that has read nothing; another
   * generation in progress), whatever `logitsProcessor` or `onProgress` threw, or the signal's reason
   */
  generate(prompt: string | TokenIds | null, options: GenerateOptions = {}): AsyncGenerator<GeneratedToken, void, undefined> {
    const generation = resolveGeneration('session.generate', this.#owner, prompt, options, this.#position)
    return generate(generation, () => this.beginGeneration(generation.signal))
  }

  /** @internal Gives the generation exclusive use of the session until it closes. Earlier appends take effect first. */
  async beginGeneration(signal: Signal | undefined): Promise<Reading> {
    this.#assertUsable()
    if (this.#isGenerating) throw busy('generate')
    this.#isGenerating = true
    const interrupt = this.#interruptBy(signal)
    try {
      if (this.#mutex.isLocked) await this.#mutex.runExclusive(() => Promise.resolve(), interrupt)
    } catch (error) {
      this.#isGenerating = false
      throw error
    }
    const position = () => this.#position
    const recentIds = () => this.recentIds
    return {
      get position() {
        return position()
      },
      get recentIds() {
        return recentIds()
      },
      interrupt,
      append: async (tokenIds, options) => {
        this.#assertUsable()
        return this.#read(tokenIds, { ...options, borrows: true })
      },
      close: async (unread) => {
        try {
          if (unread !== undefined && !this.#lifetime.disposed) await this.#read([unread], { borrows: true })
        } finally {
          this.#isGenerating = false
        }
      },
    }
  }

  #interruptBy(signal: Signal | undefined): Interrupt {
    return interruptBy(signal, this.#lifetime, this.#owner.lifetime)
  }

  /**
   * Fast path: reads one token synchronously without allocating, if possible. In a long continuation almost every token
   * takes it.
   */
  #step(tokenId: number): boolean {
    const { maxPositions, numTokens, placement } = this.#owner
    if (tokenId < 0 || this.#mutex.isLocked || this.#position >= (maxPositions ?? MAX_POSITIONS)) return false
    this.#memory.sequence = placement.migrate(this.#memory.sequence)
    const logits = this.#logits ?? new Float32Array(numTokens)
    if (!this.#memory.sequence.step(tokenId, logits)) return false
    this.#logits = logits
    this.#recentIds.add(this.#position, tokenId)
    this.#position = this.#memory.sequence.position
    return true
  }

  async #append(ids: Int32Array, request: AppendRequest, interrupt: Interrupt): Promise<AppendResult> {
    interrupt.check() // the call may have been aborted while it waited
    checkPositions(this.#position, ids.length, this.#owner.maxPositions)
    let bits = new Float32Array(0)
    if (ids.length > 0) {
      this.#memory.sequence = this.#owner.placement.migrate(this.#memory.sequence)
      const buffers = { last: this.#logits, into: this.#spareLogits }
      const appended = await appendTokens(this.#memory.sequence, ids, request, buffers, interrupt)
      appended.commit()
      bits = appended.bits
      this.#spareLogits = this.#logits
      this.#logits = appended.logits
      this.#recentIds.addAll(this.#position, ids)
      this.#position = this.#memory.sequence.position
      this.#byteLength = this.#memory.sequence.byteLength
    }
    if (!this.#logits)
      throw new RoutedAttentionError('BAD_ARGUMENT', 'append: a new session has no last logits to repeat; append at least one token')
    return { logits: request.borrows ? this.#logits : this.#logits.slice(), bits }
  }

  /**
   * Tells what the last token attended to in each layer: the local window, and which positions each expert held and how
   * much attention it gave them. Computed when it is asked for, from what the session holds; whatever follows has the
   * same bits. Calls take effect in order, as those of `append` do, and one that fails leaves the session unchanged.
   * @throws RoutedAttentionError `UNSUPPORTED` (the model is not `causal`), `BAD_ARGUMENT` (an invalid option; no token
   * was read), `OUT_OF_MEMORY`, `DISPOSED`; or the signal's reason
   */
  async inspect(options: InspectOptions = {}): Promise<Inspection> {
    this.#assertUsable()
    const signal = checkInspectOptions(options)
    signal?.throwIfAborted()
    return this.#inTurn(signal, (interrupt) => {
      this.#memory.sequence = this.#owner.placement.migrate(this.#memory.sequence)
      return inspectSequence(this.#memory.sequence, this.recentIds, interrupt)
    })
  }

  #assertUsable(): void {
    this.#lifetime.assertUsable()
    this.#owner.lifetime.assertUsable()
  }

  /**
   * Creates an independent session at the same position.
   * @throws RoutedAttentionError `OUT_OF_MEMORY`, `DISPOSED`
   */
  clone(): Session {
    this.#assertUsable()
    this.#memory.sequence = this.#owner.placement.migrate(this.#memory.sequence)
    return new Session(this.#owner, this.#memory.sequence.clone(), this.#logits?.slice(), this.recentIds)
  }

  /**
   * Serialises the session for `restoreSession` of the same model, on any machine.
   * @throws RoutedAttentionError `DISPOSED`
   */
  save(): Uint8Array {
    this.#assertUsable()
    const { sequence } = this.#memory
    const read = { position: this.#position, logits: this.#logits, recentIds: this.recentIds }
    return encodeSession(this.#owner.fingerprint, read, (before, after) => sequence.save(before, after))
  }

  /**
   * Releases the session's memory once pending appends have finished. Idempotent. If never called, the memory is
   * released after the session is garbage-collected.
   */
  dispose(): void {
    this.#lifetime.dispose()
  }

  /** Same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}
