import type { DeviceBuffer } from '../../device/device.js'
import { RoutedAttentionError } from '../../errors.js'
import { type Cursor, needsCopyOnWrite, nextChunkRows, overwritesRecent } from '../../plan/chunk.js'
import { exportState, freshCursor, importState } from '../../plan/memory/portable-state.js'
import { parseState, type SavedLayer } from '../../plan/memory/saved-state.js'
import type { CausalModelPlan } from '../../plan/model-plan.js'
import type { Interrupt } from '../../interrupt.js'
import type { YieldPoint } from './sequence.js'
import type { CapacityBucket } from './capacity-bucket.js'

/** The state of a causal sequence, in the layout of one bucket, and its cursor. */
export class CausalState {
  readonly bucket: CapacityBucket
  readonly buffer: DeviceBuffer
  readonly #cursor: { position: number; base: number }
  /** Whether it has the keys and values of its inputs; what was saved has not. */
  #isProjected: boolean
  /** Of the contexts before a pending token closed the window in place. */
  #snapshot: Float32Array | undefined

  private constructor(bucket: CapacityBucket, buffer: DeviceBuffer, cursor: Cursor, isProjected: boolean) {
    this.bucket = bucket
    this.buffer = buffer
    this.#cursor = { ...cursor }
    this.#isProjected = isProjected
  }

  /** The state of an empty sequence. */
  static create(bucket: CapacityBucket): CausalState {
    const buffer = bucket.allocateState((state) => bucket.open(state), { zeroed: true })
    return new CausalState(bucket, buffer, { position: 0, base: 0 }, true)
  }

  /**
   * Only copies: keys and values have to be projected before anything is read.
   * @param layers as parsed from what `exportBytes` gave, at the same position
   * @throws RoutedAttentionError `OUT_OF_MEMORY`
   */
  static importLayers(bucket: CapacityBucket, position: number, layers: readonly SavedLayer[]): CausalState {
    const { plan, model } = bucket
    const cursor = freshCursor(plan, position)
    const fill = (state: DeviceBuffer) => {
      if (model.device.hostVisible) importState(plan, cursor, layers, (values, byteOffset) => state.write(values, byteOffset))
      else
        state.write(
          inHostMemory(() => assemble(plan, cursor, layers)),
          0,
        )
      bucket.open(state)
    }
    const buffer = bucket.allocateState(fill, { zeroed: model.device.hostVisible })
    return new CausalState(bucket, buffer, cursor, position === 0)
  }

  /**
   * What is saved of it.
   * @param before bytes left free in front of it, a multiple of 4
   * @param after bytes left free behind it
   * @throws RoutedAttentionError `OUT_OF_MEMORY`
   */
  exportBytes(before = 0, after = 0): Uint8Array<ArrayBuffer> {
    if (this.#snapshot) {
      const unchanged = this.copy()
      try {
        return unchanged.exportBytes(before, after)
      } finally {
        unchanged.dispose()
      }
    }
    const { plan, model } = this.bucket
    return inHostMemory(() => exportState(model.config, plan, this.#cursor, this.buffer, before, after))
  }

  get isProjected(): boolean {
    return this.#isProjected
  }

  /** Makes the keys and values of its inputs, if it has not. If interrupted, it may be started again. */
  async project(yieldPoint: YieldPoint, interrupt: Interrupt | undefined): Promise<void> {
    if (this.#isProjected) return
    await this.bucket.project(this.buffer, this.#cursor, yieldPoint, interrupt)
    this.#isProjected = true
  }

  get cursor(): Cursor {
    return this.#cursor
  }

  /** Whether reading `length` tokens may overwrite its contents, instead of only writing past the cursor. */
  needsCopyFor(length: number): boolean {
    const { geometry } = this.bucket.plan
    // chunks after the first are assumed to
    if (nextChunkRows(geometry, this.#cursor.position, length) < length) return true
    return needsCopyOnWrite(geometry, this.#cursor, length)
  }

  /** The same in the layout of another bucket; its keys and values have to be projected. */
  inBucket(bucket: CapacityBucket): CausalState {
    const { position } = this.#cursor
    return CausalState.importLayers(bucket, position, parseState(bucket.model.config, position, this.exportBytes())!)
  }

  /** Without what a pending token has changed. */
  copy(): CausalState {
    const snapshot = this.#snapshot
    const buffer = this.bucket.allocateState((state) => {
      state.copyFrom(this.buffer)
      if (snapshot) this.bucket.snapshots.restore(snapshot, state)
    })
    return new CausalState(this.bucket, buffer, this.#cursor, this.#isProjected && !snapshot)
  }

  /**
   * Before a token is read into this state: if it overwrites nothing but contexts, what is saved of them is set aside, until
   * `keepChanges` or `undoChanges`.
   * @returns whether nothing else is overwritten
   * @throws RoutedAttentionError `OUT_OF_MEMORY`
   */
  allowToken(): boolean {
    const { snapshots, plan } = this.bucket
    if (!this.needsCopyFor(1)) return true
    if (overwritesRecent(plan.geometry, this.#cursor, 1)) return false
    this.#snapshot ??= inHostMemory(() => snapshots.take(this.buffer))
    return true
  }

  keepChanges(): void {
    if (this.#snapshot) this.bucket.snapshots.release(this.#snapshot)
    this.#snapshot = undefined
  }

  undoChanges(): void {
    if (!this.#snapshot) return
    this.bucket.snapshots.restore(this.#snapshot, this.buffer)
    this.#isProjected = false
    this.keepChanges()
  }

  /** Includes what has been written past the cursor. */
  advanceTo({ position, base }: Cursor): void {
    this.#cursor.position = position
    this.#cursor.base = base
  }

  /** The same for one token; @param base of the cursor after it */
  advance(base: number): void {
    this.#cursor.position++
    this.#cursor.base = base
  }

  dispose(): void {
    this.buffer.dispose()
  }
}

/** The whole of an imported state, where writing it in pieces would take too many. */
function assemble(plan: CausalModelPlan, cursor: Cursor, layers: readonly SavedLayer[]): Float32Array {
  const floats = new Float32Array(plan.stateBytes / 4)
  const words = new Int32Array(floats.buffer)
  importState(plan, cursor, layers, (values, byteOffset) => (values instanceof Int32Array ? words : floats).set(values, byteOffset / 4))
  return floats
}

/** @throws RoutedAttentionError `OUT_OF_MEMORY` */
function inHostMemory<T>(copy: () => T): T {
  try {
    return copy()
  } catch (cause) {
    throw new RoutedAttentionError('OUT_OF_MEMORY', 'there is no room for a copy of what the session holds', { cause })
  }
}
