import { TileShape } from '../../assembly/ir/values.js'
import { describe, reasonOf, RoutedAttentionError } from '../errors.js'
import type { Device } from './device.js'
import type { Build } from './wasm/builds.js'
import { chooseIntegerDot, integerRowName, integerTileName } from './wasm/choose-integer-dot.js'
import { chooseTile, rowName, tileName } from './wasm/choose-tile.js'
import { ThreadPool } from './wasm/thread-pool.js'
import { WasmDevice } from './wasm/wasm-device.js'
import type { WebGpuDevice } from './webgpu/webgpu-device.js'

/** What a runtime actually uses. */
export interface RuntimeInfo {
  /** Where the last layer or model was placed; before that, 'webgpu' if a GPU is available for use. */
  readonly device: 'wasm' | 'webgpu'
  /** The GPU's name, if one is used. */
  readonly adapter?: string
  /** The kernel build in use. Multiply-add may round once only with 'relaxed'. */
  readonly simd: 'baseline' | 'relaxed'
  /** Whether multiply-add rounds once (fused). On one engine, results with the same value are bit-identical. */
  readonly fused: boolean
  /**
   * Number of compute threads. 1 is the calling thread; otherwise all are workers, and the calling thread only waits.
   */
  readonly threads: number
  /**
   * Tile shapes of the kernels in use, rows × columns: the fastest in a few milliseconds of timing, unless
   * `unavailable.timing` says otherwise. Those for int8 weights are chosen when the first such model is loaded.
   */
  readonly kernels: { readonly tile: string; readonly row: string; readonly int8Tile?: string; readonly int8Row?: string }
  /**
   * The runtime's memory in bytes: reserved by the engine, and in use; includes GPU buffers and the host's copies of
   * them.
   */
  readonly memory: { readonly reserved: number; readonly used: number }
  /** For each feature not used, the reason. */
  readonly unavailable: Readonly<Record<string, string>>
}

/** @internal The GPU used by a runtime. */
export interface GpuUse {
  readonly device: WebGpuDevice
  readonly adapter: string
  /** Whether the CPU takes over if it is lost. */
  readonly replaceable: boolean
}

/** An object that lives on a runtime and ends with it. */
export interface Tenant {
  dispose(): void
}

/** The threads, memory and devices that layers and models run on. Created by `createRuntime`. */
export class Runtime {
  readonly #wasm: WasmDevice
  readonly #gpu: GpuUse | undefined
  readonly #build: Build
  readonly #unavailable: Record<string, string>
  readonly #tenants = new Set<Tenant>()
  /** Known once weights of int8 were packed. */
  #integerKernels: { int8Tile: string; int8Row: string } | undefined
  #pool: ThreadPool | undefined
  /** A pool that lost a thread and is terminating the others. */
  #lostPool: ThreadPool | undefined
  /** Set by `dispose`; resolves when everything has ended. */
  #ended: Promise<void> | undefined

  /** @internal */
  constructor(build: Build, unavailable: Readonly<Record<string, string>>, partitions = 1, gpu?: GpuUse) {
    this.#build = build
    this.#unavailable = { ...unavailable }
    this.#wasm = new WasmDevice(build.kernels, build.memory, partitions)
    this.#gpu = gpu
  }

  /** @internal The device for new layers and models. */
  get device(): Device {
    return this.#usesGpu ? this.#gpu!.device : this.#wasm
  }

  /** @internal The devices worth comparing for a new layer or model. */
  get candidates(): readonly Device[] {
    return this.#usesGpu && this.#gpu!.replaceable ? [this.#gpu!.device, this.#wasm] : [this.device]
  }

  /** @internal Records the device chosen among the candidates; @param refusal why it is not the GPU, if so */
  commitTo(device: Device, refusal: string): void {
    if (device === this.#wasm) this.#unavailable.webgpu = refusal
    else delete this.#unavailable.webgpu
  }

  /** Whether the GPU is used; a lost GPU is not, if something can replace it. */
  get #usesGpu(): boolean {
    return this.#gpu !== undefined && !(this.#gpu.replaceable && this.#gpu.device.lost !== undefined)
  }

  /** @internal Whether another device would take over if this one were lost. */
  isReplaceable(device: Device): boolean {
    return device !== this.#wasm && this.#gpu!.replaceable
  }

  /** @internal Whether a device's memory is this runtime's WebAssembly memory, which can be accessed synchronously. */
  isHere(device: Device): boolean {
    return device === this.#wasm
  }

  /** @internal Whether objects on a device must move to another, because it was lost and can be replaced. */
  isStale(device: Device): boolean {
    return device !== this.#wasm && !this.#usesGpu
  }

  /** @internal Times the kernels when first needed, once per module, and selects the fastest. */
  chooseKernels(revectorized: boolean): void {
    this.#wasm.chooseLater(() => {
      const { shape, unavailable } = chooseTile(this.#build.module, this.#wasm, revectorized)
      this.#wasm.tileShape = shape
      if (unavailable) this.#unavailable.timing = unavailable
      if (revectorized && shape !== TileShape.Gemm6x16) {
        this.#unavailable.revectorize = 'this engine or processor makes no faster kernels of 256 bits'
      }
    })
    this.#wasm.chooseIntegerDotLater(() => {
      const { module, simd } = this.#build
      const { tile, row, unavailable } = chooseIntegerDot(module, this.#wasm, simd === 'relaxed')
      this.#wasm.tileDot = tile
      this.#wasm.rowDot = row
      this.#integerKernels = { int8Tile: integerTileName(tile), int8Row: integerRowName(row) }
      if (unavailable) this.#unavailable.int8 = unavailable
    })
  }

  /** @internal From now on no call waits for another. */
  isolateCallers(): void {
    this.#wasm.isolatesCallers = true
  }

  /** @internal Whether no call waits for another; what is pending then never computes at the moment. */
  get isolatesCallers(): boolean {
    return this.#wasm.isolatesCallers
  }

  /** @internal Starts threads; if that fails, the reason is reported in `info`. */
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

  /** What is used, and why not more; computed on each access. */
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
      kernels: {
        tile: tileName(this.#wasm.tileShape, simd === 'relaxed'),
        row: rowName(this.#wasm.tileShape),
        ...this.#integerKernels,
      },
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

  /** @internal Registers an object that must end with the runtime. */
  addTenant(tenant: Tenant): void {
    this.#tenants.add(tenant)
  }

  /** @internal */
  removeTenant(tenant: Tenant): void {
    this.#tenants.delete(tenant)
  }

  /**
   * Ends everything on the runtime and releases its memory. Pending work rejects with `DISPOSED`. May be awaited.
   * Idempotent.
   */
  dispose(): Promise<void> {
    if (!this.#ended) {
      for (const tenant of [...this.#tenants]) tenant.dispose()
      this.#ended = Promise.all([this.#wasm.dispose(), this.#lostPool?.dispose(), this.#gpu?.device.dispose()]).then(() => undefined)
    }
    return this.#ended
  }

  /** Same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    void this.dispose()
  }

  /** Same as `dispose`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }
}

/** @throws RoutedAttentionError `BAD_ARGUMENT` unless `createRuntime` made it */
export function checkRuntime(value: unknown): asserts value is Runtime {
  if (!(value instanceof Runtime))
    throw new RoutedAttentionError('BAD_ARGUMENT', `runtime must come from createRuntime, got ${describe(value)}`)
}
