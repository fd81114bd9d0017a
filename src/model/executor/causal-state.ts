import type { DeviceBuffer } from '../../device/device.js'
import { RoutedAttentionError } from '../../errors.js'
import { type Cursor, needsCopyOnWrite, nextChunkRows } from '../../plan/chunk.js'
import { freshPlace, stateLength, visitState } from '../../plan/memory/portable-state.js'
import type { CapacityBucket } from './capacity-bucket.js'

/** The state of a causal sequence, in the layout of one bucket, and its cursor. */
export class CausalState {
  readonly bucket: CapacityBucket
  readonly buffer: DeviceBuffer
  readonly #cursor: { position: number; base: number }

  private constructor(bucket: CapacityBucket, buffer: DeviceBuffer, cursor: Cursor) {
    this.bucket = bucket
    this.buffer = buffer
    this.#cursor = { ...cursor }
  }

  /** The state of an empty sequence. */
  static create(bucket: CapacityBucket): CausalState {
    const buffer = bucket.allocateState((state) => bucket.open(state), { zeroed: true })
    return new CausalState(bucket, buffer, { position: 0, base: 0 })
  }

  /**
   * @param values from `exportValues`, at the same position
   * @throws RoutedAttentionError `OUT_OF_MEMORY`
   */
  static importValues(bucket: CapacityBucket, position: number, values: Float32Array): CausalState {
    const { plan } = bucket
    const cursor = freshPlace(plan, position)
    const floats = inHostMemory(() => new Float32Array(plan.stateBytes / 4))
    let at = 0
    visitState(plan, cursor, (start, step, count) => {
      for (let i = 0; i < count; i++) floats[start + i * step] = values[at++]!
    })
    const buffer = bucket.allocateState((state) => {
      state.write(floats, 0)
      bucket.open(state)
    })
    return new CausalState(bucket, buffer, cursor)
  }

  /**
   * Its contents, in portable order.
   * @throws RoutedAttentionError `OUT_OF_MEMORY`
   */
  exportValues(): Float32Array {
    const { plan, model } = this.bucket
    const values = inHostMemory(() => new Float32Array(stateLength(model.config, this.#cursor.position)))
    const floats = inHostMemory(() => this.buffer.readFloats(0, plan.stateBytes / 4))
    let at = 0
    visitState(plan, this.#cursor, (start, step, count) => {
      for (let i = 0; i < count; i++) values[at++] = floats[start + i * step]!
    })
    return values
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

  copy(): CausalState {
    const buffer = this.bucket.allocateState((state) => state.copyFrom(this.buffer))
    return new CausalState(this.bucket, buffer, this.#cursor)
  }

  /** Includes what has been written past the cursor. */
  advanceTo({ position, base }: Cursor): void {
    this.#cursor.position = position
    this.#cursor.base = base
  }

  /** The same for one token that needed no copy, so the local buffer has not moved. */
  advance(): void {
    this.#cursor.position++
  }

  dispose(): void {
    this.buffer.dispose()
  }
}

/** @throws RoutedAttentionError `OUT_OF_MEMORY` */
function inHostMemory(copy: () => Float32Array): Float32Array {
  try {
    return copy()
  } catch (cause) {
    throw new RoutedAttentionError('OUT_OF_MEMORY', 'there is no room for a copy of what the session holds', { cause })
  }
}
