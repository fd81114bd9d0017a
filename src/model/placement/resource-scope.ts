import type { CompiledProgram, Device, DeviceBuffer, Program } from '../../device/device.js'

/** Resources that a call takes from a device, released together, also if acquiring the next one fails. */
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

  /** Takes ownership of another scope's resources. */
  adopt(other: ResourceScope): void {
    this.#taken.push(...other.#taken.splice(0))
  }

  dispose(): void {
    for (const resource of this.#taken.splice(0).reverse()) resource.dispose()
  }
}
