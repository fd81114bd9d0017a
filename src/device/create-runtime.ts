import type * as NodeFiles from 'node:fs/promises'
import { builtinModule } from '../builtin-module.js'
import { describe, reasonOf, RoutedAttentionError } from '../errors.js'
import { requestsAreIsolated } from '../event-loop.js'
import { checkOptions, namesOf } from '../options.js'
import type { Signal, Url, WasmModule } from '../platform.js'
import { isArrayBuffer, isUrl, isWasmModule } from '../realm.js'
import { type GpuUse, Runtime } from './runtime.js'
import { type Build, chooseBuild, openBuild } from './wasm/builds.js'
import { chooseThreads, partitionsFor } from './wasm/choose-threads.js'
import { turnOnRevectorization } from './wasm/revectorize.js'
import type * as WebGpuOpening from './webgpu/open.js'

/** Options of `createRuntime`. */
export interface RuntimeOptions {
  /** 'webgpu' computes on a GPU; 'auto' does so if it measures faster. Default 'wasm'. */
  device?: 'wasm' | 'webgpu' | 'auto'
  /**
   * Number of threads; default 'auto'. If they are not available, fewer are used without an error: see `runtime.info`.
   */
  threads?: number | 'auto'
  /** Default 'auto': relaxed SIMD if the engine supports it. The choice affects the last bits of results. */
  simd?: 'auto' | 'baseline' | 'relaxed'
  /**
   * Use 256-bit kernels if the host can generate them (Node 24 or newer); default false. Turns on an experimental V8
   * optimisation for the whole process. Results are bit-identical.
   */
  revectorize?: boolean
  /** A kernel build to use instead of the bundled ones: compiled, as bytes, or a URL to fetch. */
  wasm?: WasmModule | ArrayBuffer | ArrayBufferView | Url
  /**
   * URL of a hosted copy of `routed-attention/worker.js`, for threads in a page whose Content-Security-Policy forbids
   * `blob:` workers.
   */
  worker?: Url
  /**
   * Let no call wait for the progress of another; default: true in edge workers (workerd), where a request may not await
   * what another one resolves, and code of a request whose client has left may never run again. Calls then compute in
   * their own turns of the event loop, on the calling thread, and `dispose` frees memory though a call is pending.
   */
  isolateCallers?: boolean
  /** Aborting it rejects the call with its reason and stops everything it started. */
  signal?: Signal
}

const DEVICES = ['wasm', 'webgpu', 'auto']
const SIMD = ['auto', 'baseline', 'relaxed']
const RUNTIME_OPTIONS = namesOf<RuntimeOptions>({
  device: true,
  threads: true,
  simd: true,
  revectorize: true,
  wasm: true,
  worker: true,
  isolateCallers: true,
  signal: true,
})

function checkRuntimeOptions(options: RuntimeOptions): void {
  const refuse = (name: string, expected: string, value: unknown): never => {
    throw new RoutedAttentionError('BAD_CONFIG', `createRuntime: ${name} must be ${expected}, got ${describe(value)}`)
  }
  checkOptions('createRuntime', options, RUNTIME_OPTIONS, 'BAD_CONFIG')
  const { device, threads, simd, revectorize, wasm, worker, isolateCallers } = options
  if (device !== undefined && !DEVICES.includes(device)) refuse('device', "'wasm', 'webgpu' or 'auto'", device)
  if (simd !== undefined && !SIMD.includes(simd)) refuse('simd', "'auto', 'baseline' or 'relaxed'", simd)
  if (threads !== undefined && threads !== 'auto' && !(Number.isSafeInteger(threads) && threads >= 1 && threads <= 1024)) {
    refuse('threads', "an integer from 1 to 1024, or 'auto'", threads)
  }
  if (revectorize !== undefined && typeof revectorize !== 'boolean') refuse('revectorize', 'a boolean', revectorize)
  if (isolateCallers !== undefined && typeof isolateCallers !== 'boolean') refuse('isolateCallers', 'a boolean', isolateCallers)
  if (isolateCallers && device !== undefined && device !== 'wasm')
    refuse('isolateCallers', "false, unless device is 'wasm'", isolateCallers)
  if (wasm !== undefined && !isModuleSource(wasm)) refuse('wasm', 'a WebAssembly.Module, its bytes, or a URL', wasm)
  if (worker !== undefined && !isUrl(worker)) refuse('worker', 'a URL', worker)
}

function isModuleSource(value: unknown): boolean {
  return isWasmModule(value) || isUrl(value) || isArrayBuffer(value) || ArrayBuffer.isView(value)
}

/** Loads the module passed by the caller. */
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

/** @internal The WebGPU backend. */
export type WebGpuPart = Pick<typeof WebGpuOpening, 'openWebGpu'>

/**
 * Loads the WebGPU backend, which is downloaded only when requested.
 * @throws RoutedAttentionError `UNSUPPORTED` if it cannot be imported: service workers forbid `import()`
 */
async function importWebGpu(): Promise<WebGpuPart> {
  try {
    return await import('./webgpu/open.js')
  } catch (cause) {
    throw new RoutedAttentionError(
      'UNSUPPORTED',
      `the package's WebGPU backend could not be imported (${reasonOf(cause)}); where import() is forbidden, as in service workers, ` +
        `import 'routed-attention/webgpu' instead of 'routed-attention': it includes the backend`,
      { cause },
    )
  }
}

/**
 * Opens the GPU to use, if any.
 * @throws RoutedAttentionError `UNSUPPORTED` if a GPU is required and none can be used
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
  const reason = opened.unavailable ?? `${opened.adapter} is a CPU emulating a GPU`
  if (wanted === 'webgpu') throw new RoutedAttentionError('UNSUPPORTED', `WebGPU cannot be used: ${reason}; use device: 'wasm', or 'auto'`)
  await opened.device?.dispose()
  unavailable.webgpu = reason
  return undefined
}

/**
 * Creates a runtime: compiles the kernels for this engine and allocates initial memory. Importing the package does
 * neither.
 * @throws RoutedAttentionError `BAD_CONFIG` (an option), `UNSUPPORTED` (no WebAssembly SIMD, or `device: 'webgpu'`
 * without WebGPU), `BAD_FILE` (`wasm`), or the signal's reason
 */
export function createRuntime(options: RuntimeOptions = {}): Promise<Runtime> {
  return makeRuntime(options, importWebGpu)
}

/** @internal `createRuntime`; @param loadPart loads the WebGPU backend when requested */
export async function makeRuntime(options: RuntimeOptions, loadPart: () => Promise<WebGpuPart>): Promise<Runtime> {
  checkRuntimeOptions(options)
  const { device = 'wasm', threads = 'auto', simd = 'auto', revectorize = false, wasm, worker, signal } = options
  const { isolateCallers = device === 'wasm' && requestsAreIsolated() } = options
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
    // the imports and behaviour of a caller's module show which arithmetic it uses; it is reported under the requested
    // name
    const module = await callersModule(wasm, signal)
    build = openBuild(simd === 'auto' ? 'relaxed' : simd, module)
    if (!build.fused && simd === 'auto') build = { ...build, simd: 'baseline' }
  }
  const choice = chooseThreads(threads, isolateCallers)
  if (choice.unavailable) unavailable.threads = choice.unavailable
  signal?.throwIfAborted()
  const runtime = new Runtime(build, unavailable, partitionsFor(choice.threads), gpu)
  if (isolateCallers) runtime.isolateCallers()
  runtime.chooseKernels(revectorized)
  if (choice.threads > 1) await runtime.startThreads(choice.threads, worker)
  if (signal?.aborted) {
    await runtime.dispose()
    throw signal.reason
  }
  return runtime
}
