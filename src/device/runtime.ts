import type * as NodeFiles from 'node:fs/promises'
import { TileShape } from '../../assembly/steps.js'
import { builtinModule } from '../builtin-module.js'
import { describe, reasonOf, RoutedAttentionError } from '../errors.js'
import { checkOptions } from '../options.js'
import { isArrayBuffer, isUrl, isWasmModule } from '../realm.js'
import type { Signal, Url, WasmModule } from '../platform.js'
import type { Device } from './device.js'
import { type Build, chooseBuild, openBuild } from './wasm/builds.js'
import { chooseThreads, sharesFor } from './wasm/choose-threads.js'
import { chooseTile, rowName, tileName } from './wasm/choose-tile.js'
import { turnOnRevectorization } from './wasm/revectorize.js'
import { ThreadPool } from './wasm/thread-pool.js'
import { WasmDevice } from './wasm/wasm-device.js'
import type * as WebGpuOpening from './webgpu/open.js'
import type { WebGpuDevice } from './webgpu/webgpu-device.js'

/** Options of `createRuntime`; all may be left out. */
export interface RuntimeOptions {
  /** Default 'wasm'. 'webgpu' computes on a GPU; 'auto' does where that measures faster. */
  device?: 'wasm' | 'webgpu' | 'auto'
  /** Threads to compute on; default 'auto'. What cannot be had is not an error: `runtime.info` says what is used, and why. */
  threads?: number | 'auto'
  /** Default 'auto': relaxed SIMD where the engine has it. Decides the arithmetic, and with it the last bits. */
  simd?: 'auto' | 'baseline' | 'relaxed'
  /**
   * 256-bit kernels where the host can be told to make them (Node 24 or newer); default false. It turns on an experimental optimisation of V8 for the
   * whole process. Results have the same bits.
   */
  revectorize?: boolean
  /** A build of your own to run in place of those inside the package: compiled, as bytes, or where to fetch it. */
  wasm?: WasmModule | ArrayBuffer | ArrayBufferView | Url
  /** Where a copy of `routed-attention/worker.js` is hosted, for threads in a page whose Content-Security-Policy forbids `blob:` workers. */
  worker?: Url
  signal?: Signal
}

/** What a runtime really uses. */
export interface RuntimeInfo {
  /** Where the last layer or model was put; before there is one, 'webgpu' where there is a GPU that may be used. */
  readonly device: 'wasm' | 'webgpu'
  /** The GPU's name, where one is used. */
  readonly adapter?: string
  readonly simd: 'baseline' | 'relaxed'
  /** Whether multiply-add rounds once (fused): results of one arithmetic have equal bits on one engine. */
  readonly fused: boolean
  readonly threads: number
  /** The shapes of the kernels in use, rows × columns: the fastest of several in a few milliseconds of timing, unless `unavailable.timing` says otherwise. */
  readonly kernels: { readonly tile: string; readonly row: string }
  /** Bytes of the runtime's memory: what the engine holds for it, and what is in use; a GPU's buffers, and the host's copies of them, included. */
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
  constructor(build: Build, unavailable: Readonly<Record<string, string>>, shares = 1, gpu?: GpuUse) {
    this.#build = build
    this.#unavailable = { ...unavailable }
    this.#wasm = new WasmDevice(build.kernels, build.memory, shares)
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
  decide(device: Device, refusal: string): void {
    if (device === this.#wasm) this.#unavailable.webgpu = refusal
    else delete this.#unavailable.webgpu
  }

  /** Whether the GPU is used: one that was lost is not where something can take its place. */
  get #usesGpu(): boolean {
    return this.#gpu !== undefined && !(this.#gpu.replaceable && this.#gpu.device.lost !== undefined)
  }

  /** @internal Whether another device would take this one's place if it were lost. */
  mayLose(device: Device): boolean {
    return device !== this.#wasm && this.#gpu!.replaceable
  }

  /** @internal Whether a device's memory is this runtime's own WebAssembly memory, which takes and refuses bytes at once. */
  isHere(device: Device): boolean {
    return device === this.#wasm
  }

  /** @internal Whether what lives on a device must move to another: it was lost, and there is one to take its place. */
  hasLeft(device: Device): boolean {
    return device !== this.#wasm && !this.#usesGpu
  }

  /** @internal Times the kernels, once for a module, when they are first needed, and takes the fastest. */
  chooseKernels(revectorized: boolean): void {
    this.#wasm.chooseLater(() => {
      const { shape, unavailable } = chooseTile(this.#build.module, this.#wasm, revectorized)
      this.#wasm.tileShape = shape
      if (unavailable) this.#unavailable.timing = unavailable
      if (revectorized && shape !== TileShape.Double) {
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

  get info(): RuntimeInfo {
    this.#wasm.settle()
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

  /** Ends everything on the runtime and gives its memory back. Work in flight ends with `DISPOSED`. May be awaited, and called again. */
  dispose(): Promise<void> {
    if (!this.#ended) {
      for (const tenant of [...this.#tenants]) tenant.dispose()
      this.#ended = Promise.all([this.#wasm.dispose(), this.#lostPool?.dispose(), this.#gpu?.device.dispose()]).then(() => undefined)
    }
    return this.#ended
  }

  [Symbol.dispose](): void {
    void this.dispose()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose()
  }
}

/** @throws RoutedAttentionError `BAD_ARGUMENT` for anything that `createRuntime` did not make */
export function checkRuntime(value: unknown): asserts value is Runtime {
  if (!(value instanceof Runtime))
    throw new RoutedAttentionError('BAD_ARGUMENT', `runtime must come from createRuntime, got ${describe(value)}`)
}

const DEVICES = ['wasm', 'webgpu', 'auto']
const SIMD = ['auto', 'baseline', 'relaxed']
const OPTIONS = ['device', 'threads', 'simd', 'revectorize', 'wasm', 'worker', 'signal']

function checkRuntimeOptions(options: RuntimeOptions): void {
  const refuse = (name: string, expected: string, value: unknown): never => {
    throw new RoutedAttentionError('BAD_CONFIG', `createRuntime: ${name} must be ${expected}, got ${describe(value)}`)
  }
  checkOptions('createRuntime', options, OPTIONS, 'BAD_CONFIG')
  const { device, threads, simd, revectorize, wasm, worker } = options
  if (device !== undefined && !DEVICES.includes(device)) refuse('device', "'wasm', 'webgpu' or 'auto'", device)
  if (simd !== undefined && !SIMD.includes(simd)) refuse('simd', "'auto', 'baseline' or 'relaxed'", simd)
  if (threads !== undefined && threads !== 'auto' && !(Number.isSafeInteger(threads) && threads >= 1 && threads <= 1024)) {
    refuse('threads', "an integer from 1 to 1024, or 'auto'", threads)
  }
  if (revectorize !== undefined && typeof revectorize !== 'boolean') refuse('revectorize', 'a boolean', revectorize)
  if (wasm !== undefined && !isModuleSource(wasm)) refuse('wasm', 'a WebAssembly.Module, its bytes, or a URL', wasm)
  if (worker !== undefined && !isUrl(worker)) refuse('worker', 'a URL', worker)
}

function isModuleSource(value: unknown): boolean {
  return isWasmModule(value) || isUrl(value) || isArrayBuffer(value) || ArrayBuffer.isView(value)
}

/** The module that the caller brings. */
async function callersModule(wasm: NonNullable<RuntimeOptions['wasm']>, signal: AbortSignal | undefined): Promise<WebAssembly.Module> {
  if (isWasmModule(wasm)) return wasm
  try {
    if (!isUrl(wasm)) return await WebAssembly.compile(wasm as BufferSource)
    if (wasm.protocol === 'file:') {
      const files = builtinModule<typeof NodeFiles>('node:fs/promises')
      if (!files) throw new Error('this runtime has no file system')
      return await WebAssembly.compile(await files.readFile(wasm))
    }
    const response = await fetch(wasm, signal ? { signal } : {})
    if (!response.ok) throw new Error(`${wasm.pathname} answered ${response.status}`)
    return await WebAssembly.compile(await response.arrayBuffer())
  } catch (cause) {
    signal?.throwIfAborted()
    throw new RoutedAttentionError('BAD_FILE', `the WebAssembly module given as \`wasm\` could not be loaded: ${reasonOf(cause)}`, {
      cause,
    })
  }
}

/** @internal The GPU's part of the package. */
export type WebGpuPart = Pick<typeof WebGpuOpening, 'openWebGpu'>

/**
 * Loads the GPU's part of the package, which nobody else downloads.
 * @throws RoutedAttentionError `UNSUPPORTED` where it cannot be had: service workers forbid `import()`
 */
async function importWebGpu(): Promise<WebGpuPart> {
  try {
    return await import('./webgpu/open.js')
  } catch (cause) {
    throw new RoutedAttentionError(
      'UNSUPPORTED',
      `the part of the package that is for it could not be imported (${reasonOf(cause)}); where import() is forbidden, as in service workers, ` +
        `import 'routed-attention/webgpu' in place of 'routed-attention', which has it inside`,
      { cause },
    )
  }
}

/**
 * The GPU to compute on, if any.
 * @throws RoutedAttentionError `UNSUPPORTED` where it must be one and none can be used
 */
async function chooseGpu(
  wanted: 'webgpu' | 'auto',
  unavailable: Record<string, string>,
  loadPart: () => Promise<WebGpuPart>,
): Promise<GpuUse | undefined> {
  const opened = await loadPart().then(
    ({ openWebGpu }) => openWebGpu(),
    ({ message }: Error) => ({ device: undefined, unavailable: message }),
  )
  if (opened.device && (wanted === 'webgpu' || !opened.fallback)) {
    return { device: opened.device, adapter: opened.adapter, replaceable: wanted === 'auto' }
  }
  const reason = opened.unavailable ?? `${opened.adapter} is a processor that stands in for a GPU`
  if (wanted === 'webgpu') throw new RoutedAttentionError('UNSUPPORTED', `WebGPU cannot be used: ${reason}; use device: 'wasm', or 'auto'`)
  await opened.device?.dispose()
  unavailable.webgpu = reason
  return undefined
}

/**
 * Makes a runtime: compiles the kernels for this engine and takes a first memory. Nothing happens before this call, not at import either.
 * @throws RoutedAttentionError `BAD_CONFIG` (an option), `UNSUPPORTED` (no WebAssembly SIMD here, or `device: 'webgpu'` without WebGPU),
 *   `BAD_FILE` (`wasm`), or the signal's reason
 */
export function createRuntime(options: RuntimeOptions = {}): Promise<Runtime> {
  return makeRuntime(options, importWebGpu)
}

/** @internal `createRuntime`; @param loadPart gives the GPU's part of the package where it is asked for */
export async function makeRuntime(options: RuntimeOptions, loadPart: () => Promise<WebGpuPart>): Promise<Runtime> {
  checkRuntimeOptions(options)
  const { device = 'wasm', threads = 'auto', simd = 'auto', revectorize = false, wasm, worker, signal } = options
  signal?.throwIfAborted()
  const unavailable: Record<string, string> = {}
  const gpu = device === 'wasm' ? undefined : await chooseGpu(device, unavailable, loadPart)
  const cannotWiden = revectorize ? turnOnRevectorization() : undefined
  if (cannotWiden) unavailable.revectorize = cannotWiden
  const revectorized = revectorize && !cannotWiden

  let build: Build
  if (wasm === undefined) {
    const choice = await chooseBuild(simd, revectorized)
    build = choice.build
    if (choice.unavailable) unavailable.relaxed = choice.unavailable
  } else {
    // a caller's module tells by what it imports and runs which arithmetic it has; its name is the one asked for
    const module = await callersModule(wasm, signal)
    build = openBuild(simd === 'auto' ? 'relaxed' : simd, module)
    if (!build.fused && simd === 'auto') build = { ...build, simd: 'baseline' }
  }
  const choice = chooseThreads(threads)
  if (choice.unavailable) unavailable.threads = choice.unavailable
  signal?.throwIfAborted()
  const runtime = new Runtime(build, unavailable, sharesFor(choice.threads), gpu)
  runtime.chooseKernels(revectorized)
  if (choice.threads > 1) await runtime.startThreads(choice.threads, worker)
  if (signal?.aborted) {
    await runtime.dispose()
    throw signal.reason
  }
  return runtime
}
