import { BufferIndex, DispatchHeader, WeightFormat } from '../../assembly/ops.js'
import type { Interrupt } from '../interrupt.js'

// the words that dispatches and weights are described in
export { BufferIndex, DispatchHeader, WeightFormat }

/** Memory on a device. Offsets and lengths are in bytes, except where a name says otherwise. */
export interface DeviceBuffer {
  readonly byteLength: number
  /** Zeroes a range, or all. */
  clear(byteOffset?: number, byteLength?: number): void
  write(data: Float32Array | Int32Array | Float64Array, byteOffset: number): void
  /** Rows of `width` values at `stride` floats from each other; the padding is left as it is. */
  writeRows(data: Float32Array, width: number, stride: number, byteOffset: number): void
  /** A copy of `length` values. */
  readFloats(byteOffset: number, length: number): Float32Array
  readInts(byteOffset: number, length: number): Int32Array
  readDoubles(byteOffset: number, length: number): Float64Array
  /** The inverse of `writeRows`, into `out` from index `at`. */
  readRows(out: Float32Array, at: number, rows: number, width: number, stride: number, byteOffset: number): void
  /** Takes over all that a buffer of the same length holds. */
  copyFrom(source: DeviceBuffer): void
  dispose(): void
}

/**
 * A program as the plan writes it: the words of `assembly/ops.ts`. It names no address, so one serves every dispatch.
 */
export interface Program {
  readonly words: Int32Array
  /** Ops that may run side by side with the next: a device is free not to make use of it. */
  readonly barrierSkips?: readonly BarrierSkip[]
  /** What runs that are at work side by side do in their order. */
  readonly serialized?: readonly SerializedOps[]
}

/** The ops from word `first` to word `last`. */
export interface SerializedOps {
  readonly first: number
  readonly last: number
}

/** The op at word `op` may be joined with the next one, where `parts` is a multiple of the partitions (0: always). */
export interface BarrierSkip {
  readonly op: number
  readonly parts: number
}

/** A program that a device has taken in. */
export interface CompiledProgram {
  dispose(): void
}

/** Part of a buffer, in bytes. */
export interface BufferRange {
  readonly memory: DeviceBuffer
  readonly byteOffset: number
  readonly byteLength: number
}

/**
 * What changes from run to run: the dispatch header, which memory each buffer of the program is, and what the caller
 * will read.
 */
export class Dispatch {
  readonly header = new Int32Array(DispatchHeader.Length)
  readonly buffers: (DeviceBuffer | undefined)[] = new Array<undefined>(BufferIndex.Length).fill(undefined)
  readonly offsets = new Float64Array(BufferIndex.Length)
  /** Where in its memory each buffer ends: nothing of the program lies beyond. */
  readonly ends = new Float64Array(BufferIndex.Length)
  readonly #doubles = new Float64Array(this.header.buffer)
  /**
   * About how many operations it is, multiply and add counted as two: small work is not worth handing to other threads.
   */
  operations = Infinity
  /**
   * Its predecessor, a dispatch of the same program: this one follows it in serialized sections, or in all ops where
   * both use one worker group's memory.
   */
  dependsOn: Dispatch | undefined
  /** Which worker group's memory it works in: see `Device.workerGroups`. */
  workerGroup = 0
  /**
   * What the caller reads once the dispatch is done; of a mirrored buffer, what it changes. A device whose memory the
   * host does not see brings it over.
   */
  readbacks: readonly BufferRange[] = []

  set(word: Exclude<DispatchHeader, DispatchHeader.Position | DispatchHeader.WindowPosition>, value: number): void {
    this.header[word] = value
  }

  /** Positions are float64: they have no limit. */
  setPosition(word: DispatchHeader.Position | DispatchHeader.WindowPosition, value: number): void {
    this.#doubles[word / 2] = value
  }

  position(word: DispatchHeader.Position | DispatchHeader.WindowPosition): number {
    return this.#doubles[word / 2]!
  }

  /** @param byteLength default: to the end of the memory; a device may be able to use less of a large memory sooner */
  bind(buffer: BufferIndex, memory: DeviceBuffer, byteOffset = 0, byteLength = memory.byteLength - byteOffset): void {
    this.buffers[buffer] = memory
    this.offsets[buffer] = byteOffset
    this.ends[buffer] = byteOffset + byteLength
  }
}

/**
 * How an axis of a parameter lies in packed weights: `groups` of `size` rows, from `first` on, each padded with zeros
 * to `stride`.
 */
export interface Axis {
  readonly first: number
  readonly groups: number
  readonly size: number
  readonly stride: number
}

/** Elements along an axis, padding included. */
export function elementsOf({ groups, stride }: Axis): number {
  return groups * stride
}

/**
 * One packed weight. The parameters named in `sources` are matrices (outputs, inputs) flattened; their outputs are put
 * one after the other.
 */
export interface PackedWeight {
  readonly byteOffset: number
  readonly layout: 'panels' | 'rows'
  /** How it lies in memory: as its parameters come, or widened to float32. */
  readonly format: WeightFormat
  readonly sources: readonly { readonly name: string; readonly outputs: Axis }[]
  readonly inputs: Axis
  /** Each output's row is divided by its 2-norm (clamped at 1e-12). */
  readonly normalised: boolean
}

/** Where packed weights lie in one buffer, and constants that go with them. */
export interface WeightLayout {
  readonly byteLength: number
  readonly weights: readonly PackedWeight[]
  readonly constants: readonly { readonly byteOffset: number; readonly values: Float64Array }[]
}

/** A parameter's values, row-major, little-endian, at any alignment. */
export interface ParameterValues {
  readonly format: WeightFormat
  readonly bytes: Uint8Array
}

export type ParameterSource = (name: string) => ParameterValues

export function float32Values({ buffer, byteOffset, byteLength }: Float32Array): ParameterValues {
  return { format: WeightFormat.Float32, bytes: new Uint8Array(buffer, byteOffset, byteLength) }
}

/** Bytes of one value. */
export function formatBytes(format: WeightFormat): number {
  return format === WeightFormat.Float32 ? 4 : 2
}

/** What `model/checksum.ts` and `half.ts` compute, for a model's worth of bytes. */
export interface ByteScanner {
  /** Whether float16 values, at any alignment, hold neither infinity nor NaN. */
  isFiniteFloat16(bytes: Uint8Array): boolean
  /** Continues a checksum's four lanes over whole blocks of 16 bytes. */
  mixBlocks(lanes: Uint32Array, bytes: Uint8Array): void
}

/**
 * Who runs programs. A device knows nothing of layers or models: it allocates, packs weights, takes programs in and
 * runs them, as if one at a time in the order of the calls. It never keeps what it is given.
 */
export interface Device {
  /** For messages. */
  readonly name: string
  /** Partitions that an op is cut into; scratch for one partition of scores is planned for each. */
  readonly partitions: number
  /** Whether the host reads and writes the memory that programs run in; otherwise runs say what it will read. */
  readonly hostVisible: boolean
  /** Most tokens of a chunk; results do not depend on it. */
  readonly chunkRows: number
  /** Bytes of a buffer beyond which it is slower to work with: plans keep their working memory below. */
  readonly bufferBytes: number
  /** Likewise the contexts that windows of one chunk attend to. */
  readonly contextBytes: number
  /** How many dispatches it is worth preparing before they are handed over together. */
  readonly batch: number
  /**
   * How many worker groups to use if each needs so many bytes of scratch: dispatch i runs in group i modulo that
   * number.
   */
  workerGroups(workingBytes: number): number
  /** Looks through bytes faster than JavaScript, where the device can. */
  readonly scanner?: ByteScanner
  /**
   * @param zeroed it holds zeros; otherwise whatever was there before
   * @param mirrored all of it can be read between dispatches, if every dispatch names what it changes among its results
   * @throws RoutedAttentionError `OUT_OF_MEMORY`
   */
  allocate(byteLength: number, purpose: string, options?: { zeroed?: boolean; mirrored?: boolean }): DeviceBuffer
  /** While others are waited for: chooses kernels and makes room for weights of so many bytes, as later calls would. */
  prepare?(byteLength: number): Promise<void>
  packWeights(layout: WeightLayout, parameters: ParameterSource): DeviceBuffer
  /** The same in parts, each of some milliseconds at most; ended between two of them, it has taken nothing. */
  packInParts(layout: WeightLayout, parameters: ParameterSource): Generator<void, DeviceBuffer>
  compile(program: Program): CompiledProgram
  /**
   * Runs a program over a chunk, or over several in their order. Returns a promise if other threads compute, or if it
   * takes so long that the event loop must turn meanwhile; otherwise it is done on return. Until then the dispatches,
   * and what they are bound to, are the device's. If the first dispatch's `dependsOn` is the last one of the call
   * before, it may start before that one ends; at most two calls overlap.
   * @param interrupt ends it soon, between two ops or parts of one: rejects with what `check` throws, once no op of
   * this call can overlap a later one
   */
  run(program: CompiledProgram, dispatches: Dispatch | readonly Dispatch[], interrupt?: Interrupt): void | Promise<void>
  /** Whether one dispatch of so many operations is done on return. */
  isSynchronous(work: number): boolean
  /**
   * Runs a small program on the calling thread, done on return, whatever else is running: it must touch nothing that
   * others use.
   */
  runSync(program: CompiledProgram, dispatch: Dispatch): void
  /** Ends work in flight with `DISPOSED`; resolves when nothing runs any more. */
  dispose(): Promise<void>
}
