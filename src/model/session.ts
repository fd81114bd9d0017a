import { yieldToEventLoop } from '../event-loop.js'
import { describe, RoutedAttentionError } from '../errors.js'
import { type Interrupt, interruptBy } from '../interrupt.js'
import { checkOptions } from '../options.js'
import type { Signal } from '../platform.js'
import { generate, type GeneratedToken, type Reading, type ReadingOptions } from './generation/generate.js'
import { type GenerateOptions, type GenerationModel, resolveGeneration } from './generation/generate-options.js'
import { Lifetime } from './placement/lifetime.js'
import type { ModelPlacement } from './placement/model-placement.js'
import { RecentIds } from './generation/recent-ids.js'
import { retryForMemory } from './placement/retry.js'
import { encodeSession } from './session-bytes.js'
import type { LogitsRequest, Sequence } from './engine/sequence.js'
import { bitsOf } from './engine/surprise.js'
import { checkTokenIds, singleTokenId, type TokenIds } from './text/token-ids.js'
import { Mutex } from '../mutex.js'

/** What a session needs of its model. */
export interface SessionOwner extends GenerationModel {
  readonly lifetime: Lifetime
  readonly fingerprint: Uint8Array
  readonly placement: ModelPlacement
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

/** Options of `session.append`. */
export interface AppendOptions {
  /** Its reason rejects the call, and the session stays as it was. */
  signal?: Signal | undefined
  /**
   * Also give the surprise of each token; default false. With the published routing it takes a forward over the whole
   * sequence for each token.
   */
  bits?: boolean | undefined
}

/** Beyond, the next position is not another number; saved bytes may claim that a sequence is as long. */
const MOST_POSITIONS = Number.MAX_SAFE_INTEGER

/** What an append with `bits` gives. */
export interface AppendResult {
  /** After the last token, [V]. */
  readonly logits: Float32Array
  /**
   * -log2 p of each token given what came before it, and nothing after it; NaN for a session's first token. However a
   * text is split, the same bits.
   */
  readonly bits: Float32Array
}

/** What reads a session's tokens on for whoever asked. */
interface Request extends Partial<ReadingOptions> {
  readonly bits?: boolean
}

const APPEND_OPTIONS = ['signal', 'bits']

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
  readonly #mutex = new Mutex()
  /** A generation goes on with it, and nobody else does. */
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
   * Reads tokens on. However a text is split over calls, the logits after it have the same bits. Calls take effect in
   * their order; one that fails leaves the session as it was. `append([])` repeats the last logits.
   * @returns logits after the last token, [V], the caller's own; with `bits` also the tokens' surprise
   * @throws RoutedAttentionError `BAD_ARGUMENT` (a token id; beyond `max_positions`; nothing to repeat; a generation is
   * at work), `OUT_OF_MEMORY`, `DISPOSED`; or the signal's reason
   */
  append(tokenIds: TokenIds, options?: AppendOptions & { bits?: false | undefined }): Promise<Float32Array>
  append(tokenIds: TokenIds, options: AppendOptions & { bits: true }): Promise<AppendResult>
  append(tokenIds: TokenIds, options?: AppendOptions): Promise<Float32Array | AppendResult>
  async append(tokenIds: TokenIds, options: AppendOptions = {}): Promise<Float32Array | AppendResult> {
    this.#assertUsable()
    checkOptions('append', options, APPEND_OPTIONS)
    const { signal, bits = false } = options
    if (typeof bits !== 'boolean') throw new RoutedAttentionError('BAD_ARGUMENT', `append: bits must be a boolean, got ${describe(bits)}`)
    signal?.throwIfAborted()
    if (this.#isGenerating) throw busy('append')
    if (!bits) return this.#read(tokenIds, { signal })
    const ids = checkTokenIds('append', tokenIds, this.#owner.numTokens)
    return this.#inTurn(ids, { signal, bits })
  }

  /** @returns logits after the last token, the caller's own */
  async #read(tokenIds: TokenIds, request: Request): Promise<Float32Array> {
    // a step is done before anyone can be told of it, and cannot be taken back
    if (!request.onRead && this.#step(singleTokenId(tokenIds, this.#owner.numTokens))) {
      const logits = this.#logits!.slice()
      const turning = yieldToEventLoop()
      if (turning) await turning
      return logits
    }
    const ids = checkTokenIds('append', tokenIds, this.#owner.numTokens)
    return (await this.#inTurn(ids, request)).logits
  }

  #inTurn(ids: Int32Array, request: Request): Promise<AppendResult> {
    const interrupt = this.#interruptBy(request.signal)
    const work = () => retryForMemory(() => this.#append(ids, request, interrupt))
    return this.#mutex.runExclusive(() => this.#lifetime.use(() => this.#owner.lifetime.use(work)), interrupt)
  }

  /**
   * Continues the text from where the session stands, token by token. When it ends, however it does (`break` and errors
   * too), the session has read the prompt and every token that was given out; after an abort or an error while the
   * prompt was read, it is as it was before. Meanwhile, from the first `next()` on, `append` and other generations are
   * refused; appends that were called before take effect first. Penalties and `logitsProcessor` see this call's prompt
   * and what it wrote.
   * @param prompt text, or token ids, to be read first; null: none
   * @throws RoutedAttentionError `BAD_ARGUMENT`, `UNSUPPORTED` (text without a tokenizer). From `next()`:
   * `OUT_OF_MEMORY`, `DISPOSED`, `NUMERIC`, `BAD_ARGUMENT` (null for a session that has read nothing; another
   * generation at work); or the signal's reason
   */
  generate(prompt: string | TokenIds | null, options: GenerateOptions = {}): AsyncGenerator<GeneratedToken, void, undefined> {
    const generation = resolveGeneration('session.generate', this.#owner, prompt, options, this.#position)
    return generate(generation, () => this.beginGeneration(generation.signal))
  }

  /** @internal Keeps others from appending until it is closed. Appends that were called before take effect first. */
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
        return this.#read(tokenIds, options)
      },
      close: async (unread) => {
        try {
          if (unread !== undefined && !this.#lifetime.disposed) await this.#read([unread], {})
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
   * Reads one token within the call, if that can be: of a long continuation, nearly every one. Nothing is allocated for
   * it.
   */
  #step(tokenId: number): boolean {
    const { maxPositions, numTokens, placement } = this.#owner
    if (tokenId < 0 || this.#mutex.isLocked || this.#position >= (maxPositions ?? MOST_POSITIONS)) return false
    this.#memory.sequence = placement.migrate(this.#memory.sequence)
    const logits = this.#logits ?? new Float32Array(numTokens)
    if (!this.#memory.sequence.step(tokenId, logits)) return false
    this.#logits = logits
    this.#recentIds.add(this.#position, tokenId)
    this.#position = this.#memory.sequence.position
    return true
  }

  async #append(ids: Int32Array, { onRead, bits: wantsBits = false }: Request, interrupt: Interrupt): Promise<AppendResult> {
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
    const bits = new Float32Array(wantsBits ? ids.length : 0)
    if (ids.length > 0) {
      this.#memory.sequence = this.#owner.placement.migrate(this.#memory.sequence)
      const { engine } = this.#memory.sequence
      if (wantsBits) bits[0] = this.#logits ? bitsOf(await engine.logProbability(this.#logits, ids[0]!, interrupt)) : NaN
      const request: LogitsRequest = wantsBits ? { rows: 'last', targets: ids.subarray(1) } : { rows: 'last' }
      const pause = (tokensDone: number) => {
        interrupt.check()
        onRead?.(tokensDone)
        interrupt.check()
        return yieldToEventLoop()
      }
      const { result, commit } = await this.#memory.sequence.append(ids, request, pause, interrupt)
      if (wantsBits) result.logProbabilities.forEach((logProbability, index) => (bits[index + 1] = bitsOf(logProbability)))
      commit()
      this.#logits = result.logits
      this.#recentIds.addAll(this.#position, ids)
      this.#position = this.#memory.sequence.position
      this.#byteLength = this.#memory.sequence.byteLength
    }
    if (!this.#logits)
      throw new RoutedAttentionError('BAD_ARGUMENT', 'append: a new session has no last logits to repeat; append at least one token')
    return { logits: this.#logits.slice(), bits }
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
    this.#memory.sequence = this.#owner.placement.migrate(this.#memory.sequence)
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

  /**
   * Gives its memory back, once appends under way have ended. Idempotent. A session that nobody disposes of does so
   * when it is collected, some time.
   */
  dispose(): void {
    this.#lifetime.dispose()
  }

  /** `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}

function busy(call: string): RoutedAttentionError {
  return new RoutedAttentionError(
    'BAD_ARGUMENT',
    `${call}: a generation goes on with this session; let it end, or break off its loop, before anything else is appended`,
  )
}
