import type { DeviceBuffer } from '../../device/device.js'
import { type ByteRange, closedContexts } from '../../plan/memory/portable-state.js'
import type { CausalModelPlan } from '../../plan/model-plan.js'

/** Arrays that are kept for the next windows to end: of sessions that began at different times, few windows end together. */
const MAX_FREE = 2

/**
 * What is saved of a state's contexts, and the open window's router scores, as they were before a window is closed in
 * place. That is a sixth of the state: keys and values can be made of it again.
 */
export class ContextSnapshots {
  readonly #ranges: readonly ByteRange[]
  readonly #length: number
  /** For reuse: fresh memory takes longer to fill. */
  readonly #free: Float32Array[] = []

  constructor(plan: CausalModelPlan) {
    this.#ranges = closedContexts(plan)
    this.#length = this.#ranges.reduce((sum, { byteLength }) => sum + byteLength / 4, 0)
  }

  /** @throws RangeError if the host has no memory for it */
  take(state: DeviceBuffer): Float32Array {
    const snapshot = this.#free.pop() ?? new Float32Array(this.#length)
    let at = 0
    for (const { byteOffset, byteLength } of this.#ranges) {
      const length = byteLength / 4
      state.readRows(snapshot, at, 1, length, length, byteOffset)
      at += length
    }
    return snapshot
  }

  /** Writes it to a state, whose contexts then have to be projected. */
  restore(snapshot: Float32Array, state: DeviceBuffer): void {
    let at = 0
    for (const { byteOffset, byteLength } of this.#ranges) {
      state.write(snapshot.subarray(at, at + byteLength / 4), byteOffset)
      at += byteLength / 4
    }
  }

  /** Nothing uses it any more. */
  release(snapshot: Float32Array): void {
    if (this.#free.length < MAX_FREE) this.#free.push(snapshot)
  }
}
