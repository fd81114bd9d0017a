import type { WeightFormat } from '../../../assembly/ops.js'
import { RoutedAttentionError } from '../../errors.js'

/** What a build of `assembly/` exports. */
export interface KernelExports {
  run(program: number, header: number, partitions: number, first: number, count: number, barrier: number, threads: number): void
  /** Part of a program, on the calling thread: 1 once it has ended. `cursor` has the words of `Cursor`. */
  proceed(cursor: number, header: number, budget: number, most: number): number
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
  /** `assembly/scan.ts`, over bytes from `start` to `end`. */
  mixBlocks(lanes: number, start: number, end: number): void
  isFiniteFloat16(start: number, end: number): number
  /** 1 where multiply-add rounds once. */
  fused(): number
  /** First address behind the build's own constants. */
  heapBase(): number
}

/** Pages of the memory when it is made; it grows with what is loaded. */
const INITIAL_PAGES = 16
/** Its limit: 4 GiB, or as much as the engine will reserve. */
const MAXIMUM_PAGES = [65536, 32768, 16384, 8192, 4096]

/**
 * A memory for one runtime. Declared shared always: every engine runs that on one thread too, so one build of each
 * arithmetic serves all.
 * @throws RoutedAttentionError `OUT_OF_MEMORY` when the engine reserves none
 */
export function createMemory(): WebAssembly.Memory {
  for (const maximum of MAXIMUM_PAGES) {
    try {
      return new WebAssembly.Memory({ initial: INITIAL_PAGES, maximum, shared: true })
    } catch {
      // a smaller reservation may do
    }
  }
  throw new RoutedAttentionError('OUT_OF_MEMORY', 'this engine would not reserve a WebAssembly memory of even 256 MiB')
}

/** Instantiates a build on a memory that the host owns. */
export function instantiateKernels(module: WebAssembly.Module, memory: WebAssembly.Memory): KernelExports {
  const abort = (message: number, file: number, line: number, column: number) => {
    throw new Error(`a kernel failed an assertion: ${textAt(memory, message)} (${textAt(memory, file)}:${line}:${column})`)
  }
  return new WebAssembly.Instance(module, { env: { memory, abort } }).exports as unknown as KernelExports
}

/**
 * A string of AssemblyScript's: UTF-16 units, behind their length in bytes. Only the checked builds, which tests run,
 * have any.
 */
function textAt({ buffer }: WebAssembly.Memory, address: number): string {
  if (address === 0) return ''
  const length = new DataView(buffer).getUint32(address - 4, true)
  return String.fromCharCode(...new Uint16Array(buffer, address, length / 2))
}
