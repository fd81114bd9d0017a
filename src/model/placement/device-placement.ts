import type { Device } from '../../device/device.js'
import type { Runtime } from '../../device/runtime.js'

/** What was put on a device: weights, and what computes with them. */
export interface Installation {
  readonly device: Device
  /** Gives its memory back. */
  dispose(): void
}

/** Which device a layer or model is on: the one that it was put on, until that is lost and the runtime has another. */
export class DevicePlacement<T extends Installation> {
  readonly #runtime: Runtime
  readonly #reinstall: ((device: Device, lost: T) => T) | undefined
  #current: T

  /** @param reinstall puts on another device what was on a lost one; not needed where none would take its place */
  constructor(runtime: Runtime, current: T, reinstall: ((device: Device, lost: T) => T) | undefined) {
    this.#runtime = runtime
    this.#current = current
    this.#reinstall = reinstall
  }

  /** The device that `current` is on, or will be put on. */
  get device(): Device {
    const { device } = this.#current
    return this.#runtime.isStale(device) ? this.#runtime.device : device
  }

  /**
   * What computes now: moved first, if its device was lost.
   * @throws RoutedAttentionError `OUT_OF_MEMORY`, or whatever the device throws
   */
  get current(): T {
    const { device } = this
    if (device !== this.#current.device) this.replace(this.#reinstall!(device, this.#current))
    return this.#current
  }

  /** Puts another in its place. */
  replace(next: T): void {
    const before = this.#current
    this.#current = next
    before.dispose()
  }

  dispose(): void {
    this.#current.dispose()
  }
}
