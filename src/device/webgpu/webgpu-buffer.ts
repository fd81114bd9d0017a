import { isArrayBuffer } from '../../realm.js'
import type { DeviceBuffer } from '../device.js'
import type { BufferPool } from './buffer-pool.js'
import { BufferUsage } from './constants.js'
import type { WorkQueue } from './work-queue.js'

/** What buffers need from their device. */
export interface BufferOwner {
  readonly queue: WorkQueue
  readonly pool: BufferPool
  /** Bytes per part, a power of two. */
  readonly partBytes: number
  /** Releases a buffer's memory. */
  reclaim(buffer: WebGpuBuffer): void
}

/** Bytes copied back after a dispatch. */
interface Fetched {
  readonly byteOffset: number
  readonly bytes: Uint8Array<ArrayBuffer>
}

/** The portion of a range within one part. */
interface Section {
  readonly part: GPUBuffer
  /** Its start within the part, and within the range. */
  readonly at: number
  readonly from: number
  readonly byteLength: number
}

const USAGE = BufferUsage.STORAGE | BufferUsage.COPY_SRC | BufferUsage.COPY_DST

/**
 * GPU memory, with the host's copy: all of a mirrored buffer, as of the last dispatch that copied its changes back; for
 * other buffers, what the last dispatch copied back. It is divided into parts of the maximum size WebGPU binds; all but
 * the last are full. Work submitted before a write sees the old contents.
 */
export class WebGpuBuffer implements DeviceBuffer {
  readonly byteLength: number
  readonly parts: readonly GPUBuffer[]
  /**
   * Identifies the underlying GPU memory: bind groups are cached by it, and reused when the same work recurs in the
   * same buffers.
   */
  readonly id: string
  readonly #owner: BufferOwner
  readonly #mirror: Uint8Array<ArrayBuffer> | undefined
  #fetched: readonly Fetched[] = []
  /** Offsets, ascending, that no operand crosses, if any. */
  #bounds: readonly number[] = []
  #freed = false

  constructor(owner: BufferOwner, byteLength: number, purpose: string, mirrored: boolean) {
    this.#owner = owner
    this.byteLength = byteLength
    const { partBytes, pool } = owner
    const count = Math.max(1, Math.ceil(byteLength / partBytes))
    this.parts = Array.from({ length: count }, (_, i) =>
      pool.take(Math.min(partBytes, byteLength - i * partBytes), USAGE, partBytes, purpose),
    )
    this.id = this.parts.map((part) => pool.idOf(part)).join('+')
    this.#mirror = mirrored ? new Uint8Array(byteLength) : undefined
  }

  /** Bytes held on the GPU and, if mirrored, on the host. */
  get footprint(): number {
    return this.byteLength + (this.#mirror?.byteLength ?? 0)
  }

  /**
   * @param bounds offsets, ascending, that no operand crosses, so that few parts of a large buffer are bound for each
   */
  divide(bounds: readonly number[]): void {
    this.#bounds = bounds
  }

  /** The parts that an operand within a range may be in: [first, end). */
  partsOf(byteOffset: number, byteEnd: number): [first: number, end: number] {
    if (this.parts.length === 1) return [0, 1]
    const end = Math.min(this.#bounds.find((bound) => bound > byteOffset) ?? this.byteLength, byteEnd)
    const { partBytes } = this.#owner
    const first = Math.floor(byteOffset / partBytes)
    return [first, Math.max(first + 1, Math.ceil(end / partBytes))]
  }

  *#sections(byteOffset: number, byteLength: number): Generator<Section> {
    const { partBytes } = this.#owner
    for (let from = 0; from < byteLength;) {
      const index = Math.floor((byteOffset + from) / partBytes)
      const at = byteOffset + from - index * partBytes
      const length = Math.min(partBytes - at, byteLength - from)
      yield { part: this.parts[index]!, at, from, byteLength: length }
      from += length
    }
  }

  clear(byteOffset = 0, byteLength = this.byteLength - byteOffset): void {
    for (const section of this.#sections(byteOffset, byteLength)) this.#owner.queue.clear(section.part, section.at, section.byteLength)
    this.#mirror?.fill(0, byteOffset, byteOffset + byteLength)
  }

  write(data: Float32Array | Int32Array | Float64Array | Uint16Array, byteOffset: number): void {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    // shared memory cannot be the source of a write
    const own = isArrayBuffer(bytes.buffer) ? (bytes as Uint8Array<ArrayBuffer>) : bytes.slice()
    for (const { part, at, from, byteLength } of this.#sections(byteOffset, own.byteLength)) {
      this.#owner.queue.write(part, at, own.subarray(from, from + byteLength))
    }
    this.#mirror?.set(own, byteOffset)
  }

  writeRows(data: Float32Array, width: number, stride: number, byteOffset: number): void {
    if (width === stride) return this.write(data, byteOffset)
    const rows = data.length / width
    const padded = new Float32Array(rows * stride)
    for (let row = 0; row < rows; row++) padded.set(data.subarray(row * width, (row + 1) * width), row * stride)
    this.write(padded, byteOffset)
  }

  /** Schedules copying a range to host-readable memory. */
  fetch(byteOffset: number, byteLength: number, to: GPUBuffer, toOffset: number): void {
    for (const section of this.#sections(byteOffset, byteLength)) {
      this.#owner.queue.copy(section.part, section.at, to, toOffset + section.from, section.byteLength)
    }
  }

  /** Stores what a dispatch copied back. */
  receive(byteOffset: number, bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#mirror) this.#mirror.set(bytes, byteOffset)
    else this.#fetched = [...this.#fetched.filter((known) => known.byteOffset !== byteOffset), { byteOffset, bytes: bytes.slice() }]
  }

  #known(byteOffset: number, byteLength: number): Uint8Array<ArrayBuffer> {
    const end = byteOffset + byteLength
    if (this.#mirror) return this.#mirror.subarray(byteOffset, end)
    const range = this.#fetched.find((known) => known.byteOffset <= byteOffset && end <= known.byteOffset + known.bytes.byteLength)
    if (!range) throw new Error(`bytes ${byteOffset} to ${end} of a buffer were not among the results of a run`)
    return range.bytes.subarray(byteOffset - range.byteOffset, end - range.byteOffset)
  }

  readFloats(byteOffset: number, length: number): Float32Array {
    return new Float32Array(this.#known(byteOffset, length * 4).slice().buffer)
  }

  readInts(byteOffset: number, length: number): Int32Array {
    return new Int32Array(this.#known(byteOffset, length * 4).slice().buffer)
  }

  readDoubles(byteOffset: number, length: number): Float64Array {
    return new Float64Array(this.#known(byteOffset, length * 8).slice().buffer)
  }

  readRows(out: Float32Array, at: number, rows: number, width: number, stride: number, byteOffset: number): void {
    if (rows === 0) return
    const { buffer, byteOffset: start } = this.#known(byteOffset, ((rows - 1) * stride + width) * 4)
    if (width === stride) return out.set(new Float32Array(buffer, start, rows * width), at)
    for (let row = 0; row < rows; row++) out.set(new Float32Array(buffer, start + row * stride * 4, width), at + row * width)
  }

  copyFrom(source: DeviceBuffer): void {
    const from = source as WebGpuBuffer
    from.parts.forEach((part, i) => {
      const { partBytes } = this.#owner
      this.#owner.queue.copy(part, 0, this.parts[i]!, 0, Math.min(partBytes, from.byteLength - i * partBytes))
    })
    if (this.#mirror) this.#mirror.set(from.#known(0, from.byteLength))
  }

  dispose(): void {
    if (this.#freed) return
    this.#freed = true
    this.#owner.reclaim(this)
  }
}
