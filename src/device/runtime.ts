import { TileShape } from '../../assembly/ops.js'
import { describe, reasonOf, RoutedAttentionError } from '../errors.js'
import type { Device } from './device.js'
import type { Build } from './wasm/builds.js'
import { chooseTile, rowName, tileName } from './wasm/choose-tile.js'
import { ThreadPool } from './wasm/thread-pool.js'
import { WasmDevice } from './wasm/wasm-device.js'
import type { WebGpuDevice } from './webgpu/webgpu-device.js'

/** What a runtime really uses. */
export interface RuntimeInfo {
  /** Where the last layer or model was put; before there is one, 'webgpu' where there is a GPU that may be used. */
  readonly device: 'wasm' | 'webgpu'
  /** The GPU's name, where one is used. */
  readonly adapter?: string
  /** The build in use. Only with 'relaxed' may multiply-add round once. */
  readonly simd: 'baseline' | 'relaxed'
  /** Whether multiply-add rounds once (fused): results of one arithmetic have equal bits on one engine. */
  readonly fused: boolean
  /**
   * Threads that compute: 1 is the calling thread; of several, all are workers, and the calling thread only waits for
   * them.
   */
  readonly threads: number
  /**
   * The shapes of the kernels in use, rows × columns: the fastest of several in a few milliseconds of timing, unless
   * `unavailable.timing` says otherwise.
   */
  readonly kernels: { readonly tile: string; readonly row: string }
  /**
   * Bytes of the runtime's memory: what the engine holds for it, and what is in use; a GPU's buffers, and the host's
   * copies of them, included.
   */
  readonly memory: { readonly reserved: number; readonly used: number }
  /** For each thing not used, why. */
  readonly unavailable: Readonly<Record<string, string>>
}

/** @internal A GPU that a runtime computes on. */
export interface GpuUse {
  readonly device: WebGpuDevice
  readonly adapter: string
  /** Whether the processor takes over when it is lost. */
  readonly replaceable: boolean
}

/** Something that lives on a runtime and ends with it. */
export interface Tenant {
  dispose(): void
}

/** Where everything runs and lies. Made by `createRuntime`. */
export class Runtime {
  readonly #wasm: WasmDevice
  readonly #gpu: GpuUse | undefined
  readonly #build: Build
  readonly #unavailable: Record<string, string>
  readonly #tenants = new Set<Tenant>()
  #pool: ThreadPool | undefined
  /** One that lost a thread, and is ending the others. */
  #lostPool: ThreadPool | undefined
  /** Once disposed of: when all has ended. */
  #ended: Promise<void> | undefined

  /** @internal */
  constructor(build: Build, unavailable: Readonly<Record<string, string>>, partitions = 1, gpu?: GpuUse) {
    this.#build = build
    this.#unavailable = { ...unavailable }
    this.#wasm = new WasmDevice(build.kernels, build.memory, partitions)
    this.#gpu = gpu
  }

  /** @internal Where new layers and models compute. */
  get device(): Device {
    return this.#usesGpu ? this.#gpu!.device : this.#wasm
  }

  /** @internal The devices that a new layer or model may be put on, where it is worth finding out which is faster. */
  get candidates(): readonly Device[] {
    return this.#usesGpu && this.#gpu!.replaceable ? [this.#gpu!.device, this.#wasm] : [this.device]
  }

  /** @internal Notes which candidate was taken; @param refusal why not the GPU, if not */
  commitTo(device: Device, refusal: string): void {
    if (device === this.#wasm) this.#unavailable.webgpu = refusal
    else delete this.#unavailable.webgpu
  }

  /** Whether the GPU is used: one that was lost is not where something can take its place. */
  get #usesGpu(): boolean {
    return this.#gpu !== undefined && !(this.#gpu.replaceable && this.#gpu.device.lost !== undefined)
  }

  /** @internal Whether another device would take this one's place if it were lost. */
  isReplaceable(device: Device): boolean {
    return device !== this.#wasm && this.#gpu!.replaceable
  }

  /**
   * @internal Whether a device's memory is this runtime's own WebAssembly memory, which takes and refuses bytes at
   * once.
   */
  isHere(device: Device): boolean {
    return device === this.#wasm
  }

  /** @internal Whether what lives on a device must move to another: it was lost, and there is one to take its place. */
  isStale(device: Device): boolean {
    return device !== this.#wasm && !this.#usesGpu
  }

  /** @internal Times the kernels, once for a module, when they are first needed, and takes the fastest. */
  chooseKernels(revectorized: boolean): void {
    this.#wasm.chooseLater(() => {
      const { shape, unavailable } = chooseTile(this.#build.module, this.#wasm, revectorized)
      this.#wasm.tileShape = shape
      if (unavailable) this.#unavailable.timing = unavailable
      if (revectorized && shape !== TileShape.Gemm6x16) {
        this.#unavailable.revectorize = 'this engine or processor makes no faster kernels of 256 bits'
      }
    })
  }

  /** @internal Starts threads; what keeps them from starting is told in `info`. */
  async startThreads(threads: number, script?: URL): Promise<void> {
    let pool: ThreadPool
    try {
      pool = await ThreadPool.start(this.#build.module, this.#wasm.arena, threads, script)
    } catch (cause) {
      this.#unavailable.threads = `no worker threads here: ${reasonOf(cause)}`
      return
    }
    pool.onFailure(({ message }) => {
      this.#unavailable.threads = message
      this.#lostPool = this.#pool
      this.#pool = undefined
      this.#wasm.usePool(undefined)
    })
    this.#pool = pool
    this.#wasm.usePool(pool)
  }

  /** @internal For tests. */
  get pool(): ThreadPool | undefined {
    return this.#pool
  }

  /** What is used here, and why not more; read anew each time. */
  get info(): RuntimeInfo {
    this.#wasm.chooseNow()
    const { simd, fused } = this.#build
    const { reserved, used } = this.#wasm.arena
    const gpu = this.#usesGpu && this.#unavailable.webgpu === undefined ? this.#gpu : undefined
    const lost = this.#gpu && !this.#usesGpu ? { webgpu: `the GPU was lost: ${this.#gpu.device.lost}` } : undefined
    const { used: onGpu = 0, reserved: heldByGpu = 0 } = this.#gpu?.device ?? {}
    return {
      device: gpu ? 'webgpu' : 'wasm',
      ...(gpu && { adapter: gpu.adapter }),
      simd,
      fused,
      threads: this.#pool?.threads ?? 1,
      kernels: { tile: tileName(this.#wasm.tileShape, simd === 'relaxed'), row: rowName(this.#wasm.tileShape) },
      memory: { reserved: reserved + heldByGpu, used: used + onGpu },
      unavailable: { ...this.#unavailable, ...lost },
    }
  }

  /** Whether `dispose` has been called. */
  get disposed(): boolean {
    return this.#ended !== undefined
  }

  /** @internal @throws RoutedAttentionError `DISPOSED` */
  assertUsable(): void {
    if (this.disposed) throw new RoutedAttentionError('DISPOSED', 'the runtime was disposed; create another one')
  }

  /** @internal Registers what must end with the runtime. */
  adopt(tenant: Tenant): void {
    this.#tenants.add(tenant)
  }

  /** @internal */
  release(tenant: Tenant): void {
    this.#tenants.delete(tenant)
  }

  /**
   * Ends everything on the runtime and gives its memory back. Work in flight ends with `DISPOSED`. May be awaited, and
   * called again.
   */
  dispose(): Promise<void> {
    if (!this.#ended) {
      for (const tenant of [...this.#tenants]) tenant.dispose()
      this.#ended = Promise.all([this.#wasm.dispose(), this.#lostPool?.dispose(), this.#gpu?.device.dispose()]).then(() => undefined)
    }
    return this.#ended
  }

  /** `dispose`, for `using`. */
  [Symbol.dispose](): void {
    void this.dispose()
  }

  /** `dispose`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }
}

/** @throws RoutedAttentionError `BAD_ARGUMENT` for anything that `createRuntime` did not make */
export function checkRuntime(value: unknown): asserts value is Runtime {
  if (!(value instanceof Runtime))
    throw new RoutedAttentionError('BAD_ARGUMENT', `runtime must come from createRuntime, got ${describe(value)}`)
}
