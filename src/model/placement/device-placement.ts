import type { Device } from '../../device/device.js'
import type { Runtime } from '../../device/runtime.js'

/** Something installed on a device: weights, and the code that computes with them. */
export interface Installation {
  readonly device: Device
  /** Releases its memory. */
  dispose(): void
}

/** Tracks the device a layer or model is on: the original one, until that is lost and the runtime has a replacement. */
export class DevicePlacement<T extends Installation> {
  readonly #runtime: Runtime
  readonly #reinstall: ((device: Device, lost: T) => T) | undefined
  #current: T

  /** @param reinstall installs on another device what was on a lost one; not needed if there is no replacement */
  constructor(runtime: Runtime, current: T, reinstall: ((device: Device, lost: T) => T) | undefined) {
    this.#runtime = runtime
    this.#current = current
    this.#reinstall = reinstall
  }

  /** The device that `current` is on, or will be installed on. */
  get device(): Device {
    const { device } = this.#current
    return this.#runtime.isStale(device) ? this.#runtime.device : device
  }

  /**
   * The current installation, moved first if its device was lost.
   * @throws RoutedAttentionError `OUT_OF_MEMORY`, or whatever the device throws
   */
  get current(): T {
    const { device } = this
    if (device !== this.#current.device) this.replace(this.#reinstall!(device, this.#current))
    return this.#current
  }

  /** Replaces the current installation. */
  replace(next: T): void {
    const before = this.#current
    this.#current = next
    before.dispose()
  }

  dispose(): void {
    this.#current.dispose()
  }
}
