import { RoutedAttentionError } from '../../errors.js'
import { createMemory, instantiateKernels, type KernelExports } from './instantiate.js'
import { modules } from './modules.generated.js'
import { markRevectorized } from './revectorize.js'

/** Which vector instructions a build uses; with it comes its arithmetic, fused (on most engines) or not. */
export type Simd = 'baseline' | 'relaxed'

/** A build, compiled and instantiated on a memory of its own. */
export interface Build {
  readonly simd: Simd
  readonly module: WebAssembly.Module
  readonly kernels: KernelExports
  readonly memory: WebAssembly.Memory
  /** Whether multiply-add rounds once here. */
  readonly fused: boolean
}

function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text)
  const bytes = new Uint8Array(binary.length)
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i)
  return bytes
}

/** The compiled module of each build, once for the process. */
const compiled = new Map<string, Promise<WebAssembly.Module>>()

function compileBuild(simd: Simd, revectorized: boolean): Promise<WebAssembly.Module> {
  const key = `${simd}${revectorized ? ', revectorized' : ''}`
  let module = compiled.get(key)
  if (!module) {
    const bytes = decodeBase64(modules[simd])
    module = WebAssembly.compile(revectorized ? markRevectorized(bytes) : bytes)
    compiled.set(key, module)
    module.catch(() => compiled.delete(key))
  }
  return module
}

/** Instantiates a module and tries it: an engine that accepts a build may still compute it wrongly. */
export function openBuild(simd: Simd, module: WebAssembly.Module): Build {
  const memory = createMemory()
  let kernels: KernelExports
  try {
    kernels = instantiateKernels(module, memory)
    for (const name of ['run', 'pack', 'fused', 'heapBase'] as const)
      if (typeof kernels[name] !== 'function') throw new Error(`it exports no ${name}()`)
    return { simd, module, kernels, memory, fused: kernels.fused() === 1 }
  } catch (cause) {
    throw new RoutedAttentionError('UNSUPPORTED', `this WebAssembly module is not a build of routed-attention: ${reason(cause)}`, { cause })
  }
}

/** A reason in words, whatever was thrown. */
export function reason(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}

/**
 * The build asked for, or for 'auto' the relaxed one where the engine takes it. Never fails for want of relaxed SIMD: `refused` says why it was not used.
 * @param revectorized whether the engine was told to make 256-bit operations
 * @throws RoutedAttentionError `UNSUPPORTED` where even baseline SIMD does not compile
 */
export async function chooseBuild(wanted: Simd | 'auto', revectorized: boolean): Promise<{ build: Build; refused: string | undefined }> {
  let refused: string | undefined = wanted === 'baseline' ? 'baseline SIMD was asked for' : undefined
  if (wanted !== 'baseline') {
    try {
      return { build: openBuild('relaxed', await compileBuild('relaxed', revectorized)), refused }
    } catch (cause) {
      if (cause instanceof RoutedAttentionError && cause.code === 'OUT_OF_MEMORY') throw cause
      refused = `this engine does not run relaxed SIMD: ${reason(cause)}`
    }
  }
  try {
    return { build: openBuild('baseline', await compileBuild('baseline', revectorized)), refused }
  } catch (cause) {
    if (cause instanceof RoutedAttentionError) throw cause
    throw new RoutedAttentionError('UNSUPPORTED', unsupportedReason(cause), { cause })
  }
}

function unsupportedReason(cause: unknown): string {
  const message = reason(cause)
  if (/unsafe-eval|Content Security Policy|disallowed by embedder/i.test(message)) {
    return `this page or worker may not compile WebAssembly: its Content-Security-Policy needs 'wasm-unsafe-eval', or pass a compiled module as \`wasm\` (${message})`
  }
  return `this engine does not run WebAssembly with SIMD and shared memory: ${message}`
}
