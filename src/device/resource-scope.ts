import type { CompiledProgram, Device, DeviceBuffer, Program } from './device.js'

/** Anything that holds memory until it is disposed of. */
interface Resource {
  dispose(): void
}

/**
 * Resources taken from a device, released together: at the end, or if acquiring or filling one of them fails. To keep
 * them longer, call `move` last of all; the `dispose` in `finally` then finds the scope empty.
 */
export class ResourceScope {
  readonly #device: Device
  readonly #taken: Resource[] = []

  constructor(device: Device) {
    this.#device = device
  }

  /** @throws RoutedAttentionError `OUT_OF_MEMORY` */
  allocate(byteLength: number, purpose: string, options?: { zeroed?: boolean; mirrored?: boolean }): DeviceBuffer {
    return this.use(this.#device.allocate(byteLength, purpose, options))
  }

  compile(program: Program): CompiledProgram {
    return this.use(this.#device.compile(program))
  }

  /** Takes ownership of a resource. */
  use<T extends Resource>(resource: T): T {
    this.#taken.push(resource)
    return resource
  }

  /** Transfers ownership to a new scope, or, if that is not used, to the holder of the resources. */
  move(): ResourceScope {
    const scope = new ResourceScope(this.#device)
    scope.#taken.push(...this.#taken.splice(0))
    return scope
  }

  dispose(): void {
    for (const resource of this.#taken.splice(0).reverse()) resource.dispose()
  }
}
