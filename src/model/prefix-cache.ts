import { describe, RoutedAttentionError } from '../errors.js'
import { checkFunction, checkOptions, namesOf } from '../options.js'
import type { Signal } from '../platform.js'
import type { PromptProgress } from './generation/generate-options.js'
import type { LanguageModel } from './language-model.js'
import { SharedReading } from './prefix-cache/shared-reading.js'
import { type SnapshotNode, SnapshotStore } from './prefix-cache/snapshot-store.js'
import { commonLength } from './prefix-cache/token-trie.js'
import { retryForMemory } from './retry-for-memory.js'
import type { Session } from './session.js'
import { checkTokenIds, type TokenIds } from './text/token-ids.js'

/** Options of `new PrefixCache`. */
export interface PrefixCacheOptions {
  /** Most bytes of snapshots and of the ids they belong to; default 256 MiB. 0 keeps none. */
  maxBytes?: number | undefined
}

/** Options of `PrefixCache.read`. */
export interface PrefixReadOptions {
  /** Aborting it rejects the call with its reason; others that wait for the same tokens are served all the same. */
  signal?: Signal | undefined
  /** Called while the prompt is read; anything it throws rejects the call. */
  onProgress?: ((progress: PromptProgress) => void) | undefined
  /**
   * Whether the call may wait for tokens that another call is reading, instead of reading them again; default true.
   * False on hosts where a request may not await what another resolves, such as Cloudflare Workers.
   */
  share?: boolean | undefined
}

/** What `PrefixCache.read` gives. */
export interface PrefixReading {
  /** A session that has read all ids and nothing else; the caller's, who disposes of it. */
  readonly session: Session
  /** Logits after the last token, [V], owned by the caller. */
  readonly logits: Float32Array
  /** How many of the ids this call did not read itself, but found in the cache or left to another call. */
  readonly cachedTokens: number
}

/** What `PrefixCache.open` gives. */
export interface OpenedPrefix {
  /** A session that has read the first `length` ids; the caller's, who disposes of it. */
  readonly session: Session
  /** How many ids that is; 0 if no prefix is known. */
  readonly length: number
}

const CACHE_OPTIONS = namesOf<PrefixCacheOptions>({ maxBytes: true })
const READ_OPTIONS = namesOf<PrefixReadOptions>({ signal: true, onProgress: true, share: true })
const DEFAULT_BYTES = 2 ** 28

/**
 * Fewer tokens than these are read again rather than waited for or kept: the first append to a restored session takes
 * as much longer as reading 64 (see `PrefixCache`).
 */
const LEAST_SAVED = 64

/**
 * Remembers what a model has read, so that a prompt that begins like an earlier one is read from there on. Sessions that
 * it gives have, bit for bit, the logits and the saved bytes of one that has read all tokens itself.
 *
 * It keeps snapshots at the ends of prompts, where prompts turn out to part, and where `remember` is called; the least
 * recently used is the first to go. A snapshot is a saved session: for novels-10m 0.2 to 2.4 MB outside of the
 * WebAssembly memory, where a live copy takes 9.6 MB within it. The price is the first append to a restored session,
 * which takes longer than to a copy by what reading some 64 tokens takes.
 *
 * A full-sequence model reads the whole sequence at each append, so that only a whole prompt can be reused.
 */
export class PrefixCache {
  readonly #model: LanguageModel
  readonly #snapshots: SnapshotStore
  /** Those under way. */
  readonly #readings = new Set<SharedReading>()
  #isDisposed = false

  /** @throws RoutedAttentionError `BAD_ARGUMENT` */
  constructor(model: LanguageModel, options: PrefixCacheOptions = {}) {
    if (typeof (model as Partial<LanguageModel> | undefined)?.restoreSession !== 'function')
      throw new RoutedAttentionError('BAD_ARGUMENT', `PrefixCache: model must be a LanguageModel, got ${describe(model)}`)
    checkOptions('PrefixCache', options, CACHE_OPTIONS)
    const { maxBytes = DEFAULT_BYTES } = options
    if (!Number.isFinite(maxBytes) || maxBytes < 0)
      throw new RoutedAttentionError(
        'BAD_ARGUMENT',
        `PrefixCache: maxBytes must be a number of bytes, at least 0, got ${describe(maxBytes)}`,
      )
    this.#model = model
    this.#snapshots = new SnapshotStore(maxBytes)
  }

  /** @internal Whether it is a cache of this model. */
  isOf(model: object): boolean {
    return this.#model === model
  }

  /** Bytes of all snapshots and of the ids they belong to; at most `maxBytes`. */
  get byteLength(): number {
    return this.#snapshots.byteLength
  }

  /** Number of snapshots. */
  get size(): number {
    return this.#snapshots.size
  }

  /**
   * Gives a session that has read all ids, of which only those after the longest known prefix are read. If another call
   * is reading the same prefix now, this one waits for it, and goes on from there. The end of the prompt is remembered.
   * @param tokenIds at least one
   * @throws RoutedAttentionError `BAD_ARGUMENT`, `OUT_OF_MEMORY`, `DISPOSED`, always by rejecting the promise; or the
   * signal's reason, or whatever `onProgress` threw
   */
  async read(tokenIds: TokenIds, options: PrefixReadOptions = {}): Promise<PrefixReading> {
    const ids = this.#check('read', tokenIds)
    checkOptions('read', options, READ_OPTIONS)
    const { signal, onProgress, share = true } = options
    checkFunction('read', 'onProgress', onProgress)
    if (typeof share !== 'boolean') throw new RoutedAttentionError('BAD_ARGUMENT', `read: share must be a boolean, got ${describe(share)}`)
    if (ids.length === 0) throw new RoutedAttentionError('BAD_ARGUMENT', 'read: the prompt must have at least one token')
    signal?.throwIfAborted()
    const total = ids.length
    let told = 0
    const onRead = (done: number) => {
      if (done <= told) return
      told = done
      onProgress?.({ type: 'prompt', done, total })
    }

    const { reading, cachedTokens } = this.#readingOf(ids, share)
    const session = await reading.sessionAt(total, signal, onRead)
    try {
      onRead(total)
      signal?.throwIfAborted()
      this.#assertUsable()
      return { session, logits: await session.append([]), cachedTokens }
    } catch (error) {
      session.dispose()
      throw error
    }
  }

  /**
   * Gives a session that has read the longest known prefix of some ids, at once. `append` the others to it, and let the
   * cache `remember` them.
   * @throws RoutedAttentionError `BAD_ARGUMENT`, `OUT_OF_MEMORY`, `DISPOSED`
   */
  open(tokenIds: TokenIds): OpenedPrefix {
    const { node, length } = this.#find(this.#check('open', tokenIds))
    return { session: this.#restore(node), length }
  }

  /**
   * Keeps a snapshot of a session, such as at the end of a turn. It remains the caller's.
   * @param tokenIds all ids that it has read
   * @throws RoutedAttentionError `BAD_ARGUMENT` if the session has not read these ids with this model, `DISPOSED`
   */
  remember(tokenIds: TokenIds, session: Session): void {
    const ids = this.#check('remember', tokenIds)
    if ((session as Partial<Session> | null)?.isOf?.(this.#model) !== true)
      throw new RoutedAttentionError('BAD_ARGUMENT', `remember: session must be one of this cache's model, got ${describe(session)}`)
    if (session.position !== ids.length)
      throw new RoutedAttentionError(
        'BAD_ARGUMENT',
        `remember: got ${ids.length} token ids for a session that has read ${session.position}`,
      )
    const { recentIds } = session
    if (recentIds.some((id, index) => id !== ids[ids.length - recentIds.length + index]))
      throw new RoutedAttentionError('BAD_ARGUMENT', 'remember: the session has read other token ids than these')
    this.#snapshots.keep(ids, () => session.save())
  }

  /** Forgets all snapshots. Calls in progress go on. */
  clear(): void {
    this.#snapshots.clear()
  }

  /** Forgets all snapshots and ends calls in progress with `DISPOSED`. Sessions that were given remain. Idempotent. */
  dispose(): void {
    this.#isDisposed = true
    this.clear()
    for (const reading of [...this.#readings]) reading.stop(disposed())
  }

  /** Same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  #assertUsable(): void {
    if (this.#isDisposed) throw disposed()
  }

  #check(call: string, tokenIds: TokenIds): Int32Array {
    this.#assertUsable()
    const { numTokens, maxPositions } = this.#model.config
    const ids = checkTokenIds(call, tokenIds, numTokens)
    if (maxPositions !== null && ids.length > maxPositions)
      throw new RoutedAttentionError(
        'BAD_ARGUMENT',
        `${call}: ${ids.length} tokens are more than the ${maxPositions} positions (max_positions) of this model`,
      )
    return ids
  }

  /** The longest prefix with a snapshot that helps; `common`: of how many ids the cache knows the state or a continuation. */
  #find(ids: Int32Array): { node: SnapshotNode | undefined; length: number; common: number } {
    const found = this.#snapshots.find(ids)
    const helps = this.#model.config.layer.causal || found.length === ids.length
    return helps ? found : { ...found, node: undefined, length: 0 }
  }

  /** A reading of all these ids: one under way, or a new one. */
  #readingOf(ids: Int32Array, share: boolean): { reading: SharedReading; cachedTokens: number } {
    const { causal } = this.#model.config.layer
    const total = ids.length
    const { node, length, common } = this.#find(ids)
    if (length === total)
      return { reading: this.#begin(ids, total, () => retryForMemory(() => this.#restore(node)), [], false), cachedTokens: total }

    let known = common
    let nearest: { reading: SharedReading; position: number } | undefined
    for (const reading of share ? this.#readings : []) {
      const position = commonLength(reading.ids, ids)
      known = Math.max(known, position)
      const helps = causal || (position === total && reading.ids.length === total)
      if (helps && position > (nearest?.position ?? 0) && reading.canServe(position)) nearest = { reading, position }
    }
    if (nearest?.position === total) return { reading: nearest.reading, cachedTokens: total }

    const stops = causal && known < total ? [known] : []
    if (nearest && nearest.position >= length + LEAST_SAVED) {
      const { reading, position } = nearest
      const open = (signal: Signal, onRead: (tokensRead: number) => void) => reading.sessionAt(position, signal, onRead)
      return { reading: this.#begin(ids, position, open, stops, share), cachedTokens: position }
    }
    return { reading: this.#begin(ids, length, () => retryForMemory(() => this.#restore(node)), stops, share), cachedTokens: length }
  }

  /** Plans a reading, which begins once someone waits for it. @param share whether others may join it */
  #begin(
    ids: Int32Array,
    start: number,
    open: (signal: Signal, onRead: (tokensRead: number) => void) => Session | Promise<Session>,
    stops: readonly number[],
    share: boolean,
  ): SharedReading {
    const reading = new SharedReading({
      ids,
      start,
      open,
      stops: stops.filter((stop) => stop >= start + LEAST_SAVED),
      onStop: (session, position) => this.#tryToRemember(ids.subarray(0, position), session),
      piece: this.#model.config.layer.causal ? pieceFor(this.#model) : Infinity,
      isShared: share,
      onEnd: () => this.#readings.delete(reading),
    })
    this.#readings.add(reading)
    return reading
  }

  #restore(node: SnapshotNode | undefined): Session {
    const bytes = node && this.#snapshots.use(node)
    return bytes ? this.#model.restoreSession(bytes) : this.#model.createSession()
  }

  /** No prompt fails for want of memory for a snapshot. */
  #tryToRemember(ids: Int32Array, session: Session): void {
    if (this.#isDisposed) return
    try {
      this.#snapshots.keep(ids, () => session.save())
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
    }
  }
}

/**
 * Most tokens of one append of a shared reading: fewer would leave threads without work, which take up to two chunks of
 * 256 tokens for each worker group; more would let fewer others join.
 */
function pieceFor({ runtime }: LanguageModel): number {
  const { device, threads } = runtime.info
  return 512 * (device === 'webgpu' ? 4 : Math.min(4, threads))
}

function disposed(): RoutedAttentionError {
  return new RoutedAttentionError('DISPOSED', 'this prefix cache was disposed')
}
