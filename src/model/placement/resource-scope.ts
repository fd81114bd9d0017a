import type { CompiledProgram, Device, DeviceBuffer, Program } from '../../device/device.js'

/** What a call takes from a device, given back together, also when taking the next one fails. */
export class ResourceScope {
  readonly #device: Device
  readonly #taken: { dispose(): void }[] = []

  constructor(device: Device) {
    this.#device = device
  }

  /** @throws RoutedAttentionError `OUT_OF_MEMORY` */
  allocate(byteLength: number, purpose: string): DeviceBuffer {
    const buffer = this.#device.allocate(byteLength, purpose)
    this.#taken.push(buffer)
    return buffer
  }

  compile(program: Program): CompiledProgram {
    const compiled = this.#device.compile(program)
    this.#taken.push(compiled)
    return compiled
  }

  /** Takes over what another has taken. */
  adopt(other: ResourceScope): void {
    this.#taken.push(...other.#taken.splice(0))
  }

  dispose(): void {
    for (const resource of this.#taken.splice(0).reverse()) resource.dispose()
  }
}
