import { ResourceScope } from '../../device/resource-scope.js'
import type { Interrupt } from '../../interrupt.js'
import type { CapacityBucket } from './capacity-bucket.js'
import type { CausalState } from './causal-state.js'
import type { Appended, Executor, LogitsRequest, Sequence, YieldPoint } from './sequence.js'

/** An executor with capacity buckets. */
export interface BucketExecutor extends Executor {
  /** The bucket for sequences of `length` tokens. */
  bucketFor(length: number): CapacityBucket
}

/** A sequence of a causal model: it keeps a state, not its tokens. */
export class CausalSequence implements Sequence {
  readonly executor: BucketExecutor
  #state: CausalState

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
    if (!state.isProjected || this.position + 1 > bucket.length || state.needsCopyFor(1)) return false
    if (!bucket.step(state.buffer, state.cursor, tokenId, logits)) return false
    state.advance()
    return true
  }

  /**
   * The previous state stays readable until the end: a chunk that overwrites part of it (a window closes, or the local
   * buffer moves; once in many tokens) makes the whole append work on a copy.
   */
  async append(tokenIds: Int32Array, request: LogitsRequest, yieldPoint: YieldPoint, interrupt?: Interrupt): Promise<Appended> {
    const bucket = this.executor.bucketFor(this.position + tokenIds.length)
    const before = this.#state
    const scope = new ResourceScope(bucket.model.device)
    try {
      let state = before
      if (bucket !== before.bucket) state = scope.use(before.inBucket(bucket))
      // nothing reads keys and values before they are complete, so this need not be undone
      await state.project(yieldPoint, interrupt)
      if (state === before && before.needsCopyFor(tokenIds.length)) state = scope.use(before.copy())
      const { result, cursor } = await bucket.read(state.buffer, { ...state.cursor }, tokenIds, request, yieldPoint, interrupt)
      const commit = () => {
        state.advanceTo(cursor)
        this.#state = state
        if (state !== before) before.dispose()
      }
      scope.move()
      return { result, commit }
    } finally {
      scope.dispose()
    }
  }

  clone(): Sequence {
    return new CausalSequence(this.executor, this.#state.copy())
  }

  save(): Uint8Array {
    return this.#state.exportBytes()
  }

  dispose(): void {
    this.#state.dispose()
  }
}
