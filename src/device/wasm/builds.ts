import { reasonOf, RoutedAttentionError } from '../../errors.js'
import { compileModule } from './compile.js'
import { createMemory, instantiateKernels, type KernelExports } from './instantiate.js'

/** The SIMD instruction set of a build, which also determines its arithmetic: fused (on most engines) or not. */
export type Simd = 'baseline' | 'relaxed'

/** A build, compiled and instantiated on its own memory. */
export interface Build {
  readonly simd: Simd
  readonly module: WebAssembly.Module
  readonly kernels: KernelExports
  readonly memory: WebAssembly.Memory
  /** Whether multiply-add rounds once on this engine. */
  readonly fused: boolean
}

/** Instantiates and tests a module: an engine may accept a build and still compute wrong results. */
export function openBuild(simd: Simd, module: WebAssembly.Module): Build {
  const memory = createMemory()
  let kernels: KernelExports
  try {
    kernels = instantiateKernels(module, memory)
    for (const name of ['run', 'pack', 'packInt8', 'mixBlocks', 'isFiniteFloat16', 'fused', 'heapBase'] as const)
      if (typeof kernels[name] !== 'function') throw new Error(`it exports no ${name}()`)
    return { simd, module, kernels, memory, fused: kernels.fused() === 1 }
  } catch (cause) {
    throw new RoutedAttentionError('UNSUPPORTED', `this WebAssembly module is not a build of routed-attention: ${reasonOf(cause)}`, {
      cause,
    })
  }
}

/**
 * Chooses the requested build or, for 'auto', the relaxed one if the engine supports it. Never fails for lack of
 * relaxed SIMD: `unavailable` gives the reason.
 * @param revectorized whether the engine was configured to generate 256-bit operations
 * @throws RoutedAttentionError `UNSUPPORTED` if not even baseline SIMD compiles
 */
export async function chooseBuild(
  wanted: Simd | 'auto',
  revectorized: boolean,
): Promise<{ build: Build; unavailable: string | undefined }> {
  let unavailable: string | undefined = wanted === 'baseline' ? 'baseline SIMD was asked for' : undefined
  if (wanted !== 'baseline') {
    try {
      return { build: openBuild('relaxed', await compileModule('relaxed', revectorized)), unavailable }
    } catch (cause) {
      if (cause instanceof RoutedAttentionError && cause.code === 'OUT_OF_MEMORY') throw cause
      unavailable = `this engine does not run relaxed SIMD, so baseline SIMD is used, a little slower; Node has it from version 22 on, Chromium and newer Firefox (153, not 140) have it (${reasonOf(cause)})`
    }
  }
  try {
    return { build: openBuild('baseline', await compileModule('baseline', revectorized)), unavailable }
  } catch (cause) {
    if (cause instanceof RoutedAttentionError) throw cause
    throw new RoutedAttentionError('UNSUPPORTED', unsupportedReason(cause), { cause })
  }
}

function unsupportedReason(cause: unknown): string {
  const message = reasonOf(cause)
  if (/disallowed by embedder/i.test(message)) {
    return `this engine takes WebAssembly only as modules that are imported: bundle with the condition \`workerd\`, or import routed-attention/relaxed.wasm and pass it as \`wasm\` (${message})`
  }
  if (/unsafe-eval|Content Security Policy/i.test(message)) {
    return `this page may not compile WebAssembly: add 'wasm-unsafe-eval' to script-src in its Content-Security-Policy (${message})`
  }
  return `this engine does not run WebAssembly with SIMD and shared memory: ${message}`
}
