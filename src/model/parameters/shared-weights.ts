import type { DeviceBuffer } from '../../device/device.js'

/** Packed weights that several calls may still be using when their owner has let go of them. */
export class SharedWeights {
  readonly buffer: DeviceBuffer
  #holders = 1

  constructor(buffer: DeviceBuffer) {
    this.buffer = buffer
  }

  retain(): this {
    this.#holders++
    return this
  }

  release(): void {
    if (--this.#holders === 0) this.buffer.dispose()
  }
}
