import { BufferIndex, DispatchHeader } from '../../assembly/ir/header.js'
import { WeightFormat } from '../../assembly/ir/values.js'
import type { Interrupt } from '../interrupt.js'

// the words in which dispatches and weights are described
export { BufferIndex, DispatchHeader, WeightFormat }

/** A block of device memory. Offsets and lengths are in bytes unless named otherwise. */
export interface DeviceBuffer {
  readonly byteLength: number
  /** Zeroes a range, or the whole buffer. */
  clear(byteOffset?: number, byteLength?: number): void
  write(data: Float32Array | Int32Array | Float64Array, byteOffset: number): void
  /** Writes rows of `width` values, `stride` floats apart; leaves the padding unchanged. */
  writeRows(data: Float32Array, width: number, stride: number, byteOffset: number): void
  /** Copies out `length` values. */
  readFloats(byteOffset: number, length: number): Float32Array
  readInts(byteOffset: number, length: number): Int32Array
  readDoubles(byteOffset: number, length: number): Float64Array
  /** The inverse of `writeRows`: reads into `out` from index `at`. */
  readRows(out: Float32Array, at: number, rows: number, width: number, stride: number, byteOffset: number): void
  /** Copies the contents of a buffer of the same length. */
  copyFrom(source: DeviceBuffer): void
  dispose(): void
}

/**
 * A program as written by the plan: the words of `assembly/ir/ops.ts`. It contains no addresses, so one program serves
 * every dispatch.
 */
export interface Program {
  readonly words: Int32Array
  /** Barriers that a device may skip. */
  readonly barrierSkips?: readonly BarrierSkip[]
  /** Sections that overlapping dispatches execute in order. */
  readonly serialized?: readonly SerializedOps[]
}

/** The ops from word `first` to word `last`. */
export interface SerializedOps {
  readonly first: number
  readonly last: number
}

/**
 * The barrier after the op at word `op` may be skipped if `units`, into which its work divides, is a multiple of the
 * number of partitions (0: always).
 */
export interface BarrierSkip {
  readonly op: number
  readonly units: number
}

/** A program compiled by a device. */
export interface CompiledProgram {
  dispose(): void
}

/** A byte range of a buffer. */
export interface BufferRange {
  readonly memory: DeviceBuffer
  readonly byteOffset: number
  readonly byteLength: number
}

/**
 * What changes from one execution of a program to the next: the dispatch header, the memory bound to each buffer, and
 * what the caller will read.
 */
export class Dispatch {
  readonly header = new Int32Array(DispatchHeader.Length)
  readonly buffers: (DeviceBuffer | undefined)[] = new Array<undefined>(BufferIndex.Length).fill(undefined)
  readonly offsets = new Float64Array(BufferIndex.Length)
  /** End of each buffer within its memory; the program accesses nothing beyond. */
  readonly ends = new Float64Array(BufferIndex.Length)
  readonly #doubles = new Float64Array(this.header.buffer)
  /**
   * If the dispatch has one token of each of several sequences, what is each one's own, row by row: its header, and the
   * buffers that differ. The headers are written to what is bound to `BufferIndex.Sequences`. Empty otherwise.
   */
  sequences: readonly Dispatch[] = []
  /**
   * Approximate number of operations, a multiply-add counting as two. Small dispatches are not worth handing to other
   * threads.
   */
  operations = Infinity
  /**
   * The preceding dispatch of the same program: this one follows it in serialized sections, or in all ops if both use
   * the same worker group's memory.
   */
  dependsOn: Dispatch | undefined
  /** The worker group whose memory it uses: see `Device.workerGroups`. */
  workerGroup = 0
  /**
   * What the caller reads once the dispatch is done; for a mirrored buffer, what it changes. A device whose memory is
   * not host-visible copies these back.
   */
  readbacks: readonly BufferRange[] = []

  set(word: Exclude<DispatchHeader, DispatchHeader.Position | DispatchHeader.ClosingPosition>, value: number): void {
    this.header[word] = value
  }

  /** Positions are float64 and thus unlimited. */
  setPosition(word: DispatchHeader.Position | DispatchHeader.ClosingPosition, value: number): void {
    this.#doubles[word / 2] = value
  }

  position(word: DispatchHeader.Position | DispatchHeader.ClosingPosition): number {
    return this.#doubles[word / 2]!
  }

  /**
   * @param byteLength default: up to the end of the memory; a device may be able to start sooner with a smaller range
   */
  bind(buffer: BufferIndex, memory: DeviceBuffer, byteOffset = 0, byteLength = memory.byteLength - byteOffset): void {
    this.buffers[buffer] = memory
    this.offsets[buffer] = byteOffset
    this.ends[buffer] = byteOffset + byteLength
  }
}

/**
 * Layout of one axis of a parameter in packed weights: `segments` of `size` rows, from row `first` on, each
 * zero-padded to `stride`.
 */
export interface Axis {
  readonly first: number
  readonly segments: number
  readonly size: number
  readonly stride: number
}

/** Number of elements along an axis, including padding. */
export function elementsOf({ segments, stride }: Axis): number {
  return segments * stride
}

/**
 * One packed weight. The parameters listed in `sources` are matrices (outputs × inputs), flattened; their outputs are
 * concatenated.
 */
export interface PackedWeight {
  readonly byteOffset: number
  readonly layout: 'panels' | 'rows'
  /** Storage format: the parameters' own, or widened to float32. */
  readonly format: WeightFormat
  readonly sources: readonly { readonly name: string; readonly outputs: Axis }[]
  readonly inputs: Axis
  /**
   * Offset of what accompanies int8: a float32 scale for each output and, with "panels", the sum of its weights (an
   * int32) behind all scales.
   */
  readonly scalesOffset?: number
  /** Whether each output's row is divided by its 2-norm (clamped to at least 1e-12). */
  readonly normalised: boolean
}

/** Layout of packed weights, and of constants that accompany them, in one buffer. */
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

/** Fills packed weights as their parameters arrive. */
export interface WeightPacker {
  /**
   * Packs whole rows of a parameter; rows that come again replace what they were before.
   * @param first index of the first of these rows
   * @param values of these rows only, valid during the call
   */
  put(name: string, first: number, values: ParameterValues): void
  /**
   * Takes what rows of int8 are multiplied by, before these rows or after them.
   * @param first index of the row of the first of these scales
   */
  putScales(name: string, first: number, scales: Float32Array): void
  /** Called once all rows have come: the buffer, which is the caller's then. */
  finish(): DeviceBuffer
  /** Gives the memory back, unless the buffer is the caller's. Idempotent. */
  dispose(): void
}

export type ParameterSource = (name: string) => ParameterValues

export function float32Values({ buffer, byteOffset, byteLength }: Float32Array): ParameterValues {
  return { format: WeightFormat.Float32, bytes: new Uint8Array(buffer, byteOffset, byteLength) }
}

/** Bytes per value. */
export function formatBytes(format: WeightFormat): number {
  if (format === WeightFormat.Int8) return 1
  return format === WeightFormat.Float32 ? 4 : 2
}

/** The operations of `model/parameters/checksum.ts` and `half.ts`, for large amounts of bytes. */
export interface ByteScanner {
  /** Whether float16 values, at any alignment, contain neither infinity nor NaN. */
  isFiniteFloat16(bytes: Uint8Array): boolean
  /** Continues a checksum's four lanes over whole 16-byte blocks. */
  mixBlocks(lanes: Uint32Array, bytes: Uint8Array): void
}

/**
 * A backend. It knows nothing of layers or models: it allocates memory, packs weights, and compiles and runs programs,
 * with the effect of running them one at a time in call order. It retains none of its arguments.
 */
export interface Device {
  /** Name for messages. */
  readonly name: string
  /** Number of partitions each op is split into; the plan reserves score scratch for each. */
  readonly partitions: number
  /** Whether it multiplies int8 weights; if not, they are planned as float32. */
  readonly multipliesInt8: boolean
  /** Whether the host can access the memory that programs use. If not, dispatches must list what the host will read. */
  readonly hostVisible: boolean
  /** Maximum tokens per chunk; does not affect results. */
  readonly chunkRows: number
  /** Buffer size in bytes beyond which a buffer becomes slower; plans keep their working memory below it. */
  readonly bufferBytes: number
  /** The same limit for the contexts attended to by the windows of one chunk. */
  readonly contextBytes: number
  /** Maximum sequences of which one dispatch may have a token each; 1 if it cannot have several. */
  readonly sequences: number
  /**
   * Whether no call may depend on another one's progress, as in edge workers, where code of a request that ended never
   * runs again: then `run` always finishes before it returns.
   */
  readonly isolatesCallers: boolean
  /** Number of dispatches worth preparing before submitting them together. */
  readonly submissionSize: number
  /**
   * Number of worker groups to use if each needs this many bytes of scratch; dispatch i runs in group i modulo that
   * number.
   */
  workerGroups(workingBytes: number): number
  /** Scans bytes faster than JavaScript, if the device can. */
  readonly scanner?: ByteScanner
  /**
   * @param zeroed initialise with zeros; otherwise the contents are undefined
   * @param mirrored make all of it readable between dispatches, provided each dispatch lists what it changes in
   * `readbacks`
   * @throws RoutedAttentionError `OUT_OF_MEMORY`
   */
  allocate(byteLength: number, purpose: string, options?: { zeroed?: boolean; mirrored?: boolean }): DeviceBuffer
  /** Chooses kernels, as later calls would. Used while waiting for other things. */
  prepare?(): void
  packWeights(layout: WeightLayout, parameters: ParameterSource): DeviceBuffer
  /**
   * Makes room for weights whose parameters are still to come.
   * @throws RoutedAttentionError `OUT_OF_MEMORY`
   */
  openPacker(layout: WeightLayout): WeightPacker
  compile(program: Program): CompiledProgram
  /**
   * Runs a program over one or more chunks in order. Returns a promise if other threads compute, or if it takes long
   * enough that the event loop must run meanwhile; otherwise it has finished on return. Until then the dispatches and
   * the memory bound to them belong to the device. If the first dispatch's `dependsOn` is the last one of the previous
   * call, it may start before that one ends; at most two calls overlap.
   * @param interrupt ends the run soon, between ops or parts of one: it rejects with what `check` throws, once no op of
   * this call can overlap a later one
   */
  run(program: CompiledProgram, dispatches: Dispatch | readonly Dispatch[], interrupt?: Interrupt): void | Promise<void>
  /** Whether a single dispatch of this many operations finishes before `run` returns. */
  isSynchronous(work: number): boolean
  /**
   * Runs a small program synchronously on the calling thread, whatever else is running; it must not touch memory used
   * by others.
   */
  runSync(program: CompiledProgram, dispatch: Dispatch): void
  /** Ends pending work with `DISPOSED`; resolves once nothing is running. */
  dispose(): Promise<void>
}
