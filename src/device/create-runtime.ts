import type * as NodeFiles from 'node:fs/promises'
import { builtinModule } from '../builtin-module.js'
import { describe, reasonOf, RoutedAttentionError } from '../errors.js'
import { checkOptions } from '../options.js'
import type { Signal, Url, WasmModule } from '../platform.js'
import { isArrayBuffer, isUrl, isWasmModule } from '../realm.js'
import { type GpuUse, Runtime } from './runtime.js'
import { type Build, chooseBuild, openBuild } from './wasm/builds.js'
import { chooseThreads, partitionsFor } from './wasm/choose-threads.js'
import { turnOnRevectorization } from './wasm/revectorize.js'
import type * as WebGpuOpening from './webgpu/open.js'

/** Options of `createRuntime`; all may be left out. */
export interface RuntimeOptions {
  /** Default 'wasm'. 'webgpu' computes on a GPU; 'auto' does where that measures faster. */
  device?: 'wasm' | 'webgpu' | 'auto'
  /**
   * Threads to compute on; default 'auto'. What cannot be had is not an error: `runtime.info` says what is used, and
   * why.
   */
  threads?: number | 'auto'
  /** Default 'auto': relaxed SIMD where the engine has it. Decides the arithmetic, and with it the last bits. */
  simd?: 'auto' | 'baseline' | 'relaxed'
  /**
   * 256-bit kernels where the host can be told to make them (Node 24 or newer); default false. It turns on an
   * experimental optimisation of V8 for the whole process. Results have the same bits.
   */
  revectorize?: boolean
  /** A build of your own to run in place of those inside the package: compiled, as bytes, or where to fetch it. */
  wasm?: WasmModule | ArrayBuffer | ArrayBufferView | Url
  /**
   * Where a copy of `routed-attention/worker.js` is hosted, for threads in a page whose Content-Security-Policy forbids
   * `blob:` workers.
   */
  worker?: Url
  /** Its reason rejects the call; what was begun is ended. */
  signal?: Signal
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
 * Makes a runtime: compiles the kernels for this engine and takes a first memory. Nothing happens before this call, not
 * at import either.
 * @throws RoutedAttentionError `BAD_CONFIG` (an option), `UNSUPPORTED` (no WebAssembly SIMD here, or `device: 'webgpu'`
 * without WebGPU), `BAD_FILE` (`wasm`), or the signal's reason
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
  const runtime = new Runtime(build, unavailable, partitionsFor(choice.threads), gpu)
  runtime.chooseKernels(revectorized)
  if (choice.threads > 1) await runtime.startThreads(choice.threads, worker)
  if (signal?.aborted) {
    await runtime.dispose()
    throw signal.reason
  }
  return runtime
}
