import type { CompiledProgram, Device, DeviceBuffer, Program } from './device.js'

/** What holds memory until it is disposed of. */
interface Resource {
  dispose(): void
}

/**
 * What is taken from a device and given back together: in the end, or when something fails on the way. Whoever keeps it
 * for longer calls `move` last of all, and disposes of the scope in `finally` as well: it is empty then.
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

  /** Takes over a resource. */
  use<T extends Resource>(resource: T): T {
    this.#taken.push(resource)
    return resource
  }

  /** Hands all that it has taken to a new scope, or, where nobody keeps that, to those who hold the resources. */
  move(): ResourceScope {
    const scope = new ResourceScope(this.#device)
    scope.#taken.push(...this.#taken.splice(0))
    return scope
  }

  dispose(): void {
    for (const resource of this.#taken.splice(0).reverse()) resource.dispose()
  }
}
