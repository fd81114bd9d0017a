import type { WeightFormat } from '../../../assembly/ir/values.js'
import { RoutedAttentionError } from '../../errors.js'

/** The exports of a build of `assembly/`. */
export interface KernelExports {
  run(program: number, header: number, partitions: number, first: number, count: number, barrier: number, threads: number): void
  /**
   * Continues a program on the calling thread; returns 1 once it has finished. `resumePoint` is the address of the
   * words of `ResumePoint`.
   */
  resume(resumePoint: number, header: number, budget: number, most: number): number
  /** `assembly/pack.ts`. */
  pack(
    source: number,
    format: WeightFormat,
    rows: number,
    groups: number,
    size: number,
    stride: number,
    target: number,
    packed: WeightFormat,
    rowStep: number,
    step: number,
    normalised: number,
  ): void
  packInt8(source: number, rows: number, groups: number, size: number, stride: number, target: number, width: number, sums: number): void
  /** `assembly/scan.ts`, over the bytes from `start` to `end`. */
  mixBlocks(lanes: number, start: number, end: number): void
  isFiniteFloat16(start: number, end: number): number
  /** 1 if multiply-add rounds once. */
  fused(): number
  /** First address after the build's own constants. */
  heapBase(): number
}

/** Initial size in pages; the memory grows as things are loaded. */
const INITIAL_PAGES = 16
/** Maximum size in pages: 4 GiB, or as much as the engine will reserve. */
const MAXIMUM_PAGES = [65536, 32768, 16384, 8192, 4096]

/**
 * Creates a runtime's memory. Always declared shared: every engine accepts that with one thread too, so one build per
 * arithmetic suffices.
 * @throws RoutedAttentionError `OUT_OF_MEMORY` if the engine reserves none
 */
export function createMemory(): WebAssembly.Memory {
  for (const maximum of MAXIMUM_PAGES) {
    try {
      return new WebAssembly.Memory({ initial: INITIAL_PAGES, maximum, shared: true })
    } catch {
      // A smaller reservation may succeed
    }
  }
  throw new RoutedAttentionError('OUT_OF_MEMORY', 'this engine would not reserve a WebAssembly memory of even 256 MiB')
}

/** Instantiates a build on a memory owned by the host. */
export function instantiateKernels(module: WebAssembly.Module, memory: WebAssembly.Memory): KernelExports {
  const abort = (message: number, file: number, line: number, column: number) => {
    throw new Error(`a kernel failed an assertion: ${textAt(memory, message)} (${textAt(memory, file)}:${line}:${column})`)
  }
  return new WebAssembly.Instance(module, { env: { memory, abort } }).exports as unknown as KernelExports
}

/**
 * An AssemblyScript string: UTF-16 units, preceded by their length in bytes. Only the checked builds used in tests have
 * any.
 */
function textAt({ buffer }: WebAssembly.Memory, address: number): string {
  if (address === 0) return ''
  const length = new DataView(buffer).getUint32(address - 4, true)
  return String.fromCharCode(...new Uint16Array(buffer, address, length / 2))
}
