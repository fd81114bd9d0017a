import { ResourceScope } from '../../device/resource-scope.js'
import type { Interrupt } from '../../interrupt.js'
import type { Cursor } from '../../plan/chunk.js'
import type { LayerInspection } from '../inspection.js'
import type { CapacityBucket } from './capacity-bucket.js'
import type { CausalState } from './causal-state.js'
import type { DecodeBatcher } from './decode-batcher.js'
import type { Appended, Executor, LogitsRequest, Sequence, YieldPoint } from './sequence.js'

const NONE = new Float64Array(0)

/** An executor with capacity buckets. */
export interface BucketExecutor extends Executor {
  /** The bucket for sequences of `length` tokens. */
  bucketFor(length: number): CapacityBucket
}

/** A sequence of a causal model: it keeps a state, not its tokens. */
export class CausalSequence implements Sequence {
  readonly executor: BucketExecutor
  #state: CausalState
  /** What a pending append has taken. */
  #taken: ResourceScope | undefined

  constructor(executor: BucketExecutor, state: CausalState) {
    this.executor = executor
    this.#state = state
  }

  get position(): number {
    return this.#state.cursor.position
  }

  get byteLength(): number {
    return this.#state.buffer.byteLength
  }

  step(tokenId: number, logits: Float32Array): boolean {
    const state = this.#state
    const { bucket } = state
    if (!this.#canDecode || state.needsCopyFor(1)) return false
    if (bucket.batcher && !bucket.batcher.isAlone(this)) return false
    const base = bucket.step(state.buffer, state.cursor, tokenId, logits)
    if (base === undefined) return false
    bucket.batcher?.noteStep(this)
    state.advance(base)
    return true
  }

  /** Whether the next token needs nothing but its bucket's program. */
  get #canDecode(): boolean {
    const { bucket, isProjected } = this.#state
    return isProjected && this.position < bucket.length
  }

  /**
   * The previous state stays readable until the end: a chunk that overwrites part of it (it closes a window, or the local
   * buffer moves; once in many tokens) makes the whole append work on a copy.
   */
  async append(tokenIds: Int32Array, request: LogitsRequest, yieldPoint: YieldPoint, interrupt?: Interrupt): Promise<Appended> {
    const { batcher } = this.#state.bucket
    if (batcher && interrupt && tokenIds.length === 1 && request.rows === 'last' && !request.targets?.length && this.#canDecode) {
      return this.#decode(batcher, tokenIds[0]!, request.into, yieldPoint, interrupt)
    }
    const bucket = this.executor.bucketFor(this.position + tokenIds.length)
    const before = this.#state
    const scope = new ResourceScope(bucket.model.device)
    this.#taken = scope
    try {
      let state = before
      if (bucket !== before.bucket) state = scope.use(before.inBucket(bucket))
      // nothing reads keys and values before they are complete, so this need not be undone
      await state.project(yieldPoint, interrupt)
      if (state === before && before.needsCopyFor(tokenIds.length)) state = scope.use(before.copy())
      const { result, cursor } = await bucket.read(state.buffer, { ...state.cursor }, tokenIds, request, yieldPoint, interrupt)
      scope.move()
      return { result, commit: () => this.#commit(state, cursor) }
    } finally {
      scope.dispose()
      this.#taken = undefined
    }
  }

  /** The same for a single token, together with those of other sequences. */
  async #decode(
    batcher: DecodeBatcher,
    tokenId: number,
    into: Float32Array | undefined,
    yieldPoint: YieldPoint,
    interrupt: Interrupt,
  ): Promise<Appended> {
    const { device, config } = this.#state.bucket.model
    const logits = into ?? new Float32Array(config.numTokens)
    const scope = new ResourceScope(device)
    this.#taken = scope
    const before = this.#state
    let state = before
    const begin = () => {
      if (!before.allowToken()) state = scope.use(before.copy())
      return { state: state.buffer, cursor: state.cursor, tokenId, logits }
    }
    try {
      const cursor = await batcher.read({ sequence: this, begin }, interrupt)
      await yieldPoint(1)
      scope.move()
      return { result: { logits, logProbabilities: NONE }, commit: () => this.#commit(state, cursor) }
    } catch (error) {
      before.undoChanges()
      throw error
    } finally {
      scope.dispose()
      this.#taken = undefined
    }
  }

  /** Goes on with a state, which may be a copy of the last one. */
  #commit(state: CausalState, cursor: Cursor): void {
    const before = this.#state
    state.keepChanges()
    state.advanceTo(cursor)
    this.#state = state
    if (state !== before) before.dispose()
  }

  async inspect(yieldPoint: YieldPoint, interrupt: Interrupt): Promise<LayerInspection[]> {
    const state = this.#state
    await state.project(yieldPoint, interrupt)
    return state.bucket.inspector.inspect(state.buffer, state.cursor, interrupt)
  }

  clone(): Sequence {
    return new CausalSequence(this.executor, this.#state.copy())
  }

  save(before = 0, after = 0): Uint8Array<ArrayBuffer> {
    return this.#state.exportBytes(before, after)
  }

  dispose(): void {
    this.#taken?.dispose()
    this.#state.dispose()
  }
}
