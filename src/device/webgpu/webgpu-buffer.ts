import type { DeviceBuffer } from '../device.js'
import type { BufferPool } from './buffer-pool.js'
import { BufferUsage } from './constants.js'

/** What buffers ask of their device. */
export interface BufferOwner {
  readonly gpu: GPUDevice
  readonly pool: BufferPool
  readonly bufferBytes: number
  /** Takes back what a buffer held. */
  release(buffer: WebGpuBuffer): void
}

/** Bytes that came over with a run. */
interface Fetched {
  readonly byteOffset: number
  readonly bytes: Uint8Array<ArrayBuffer>
}

/**
 * Memory on the GPU, and what the host knows of it: a mirrored buffer's whole contents as of the last run that brought its changes over, of any other
 * what the last run brought. Writes go through the queue, so work that was submitted before them sees what was there before.
 */
export class WebGpuBuffer implements DeviceBuffer {
  readonly byteLength: number
  readonly buffer: GPUBuffer
  readonly #owner: BufferOwner
  readonly #mirror: Uint8Array<ArrayBuffer> | undefined
  #fetched: readonly Fetched[] = []
  #freed = false

  constructor(owner: BufferOwner, byteLength: number, mirrored: boolean) {
    this.#owner = owner
    this.byteLength = byteLength
    this.buffer = owner.pool.take(byteLength, BufferUsage.STORAGE | BufferUsage.COPY_SRC | BufferUsage.COPY_DST, owner.bufferBytes)
    this.#mirror = mirrored ? new Uint8Array(byteLength) : undefined
  }

  /** Which memory of the GPU it is: bind groups of work that comes again, in buffers that come again, are kept by it. */
  get id(): number {
    return this.#owner.pool.idOf(this.buffer)
  }

  /** Bytes that it holds on the GPU and, mirrored, beside it. */
  get footprint(): number {
    return this.byteLength + (this.#mirror?.byteLength ?? 0)
  }

  clear(byteOffset = 0, byteLength = this.byteLength - byteOffset): void {
    if (byteLength === 0) return
    const encoder = this.#owner.gpu.createCommandEncoder()
    encoder.clearBuffer(this.buffer, byteOffset, byteLength)
    this.#owner.gpu.queue.submit([encoder.finish()])
    this.#mirror?.fill(0, byteOffset, byteOffset + byteLength)
  }

  write(data: Float32Array | Int32Array | Float64Array, byteOffset: number): void {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    // a shared memory is no source of a write
    const own = bytes.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : bytes.slice()
    if (own.byteLength > 0) this.#owner.gpu.queue.writeBuffer(this.buffer, byteOffset, own)
    this.#mirror?.set(own, byteOffset)
  }

  writeRows(data: Float32Array, width: number, stride: number, byteOffset: number): void {
    if (width === stride) return this.write(data, byteOffset)
    const rows = data.length / width
    const padded = new Float32Array(rows * stride)
    for (let row = 0; row < rows; row++) padded.set(data.subarray(row * width, (row + 1) * width), row * stride)
    this.write(padded, byteOffset)
  }

  /** Takes in what a run brought over. */
  receive(byteOffset: number, bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#mirror) this.#mirror.set(bytes, byteOffset)
    else this.#fetched = [...this.#fetched.filter((known) => known.byteOffset !== byteOffset), { byteOffset, bytes }]
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
    const encoder = this.#owner.gpu.createCommandEncoder()
    encoder.copyBufferToBuffer(from.buffer, 0, this.buffer, 0, from.byteLength)
    this.#owner.gpu.queue.submit([encoder.finish()])
    if (this.#mirror) this.#mirror.set(from.#known(0, from.byteLength))
  }

  dispose(): void {
    if (this.#freed) return
    this.#freed = true
    this.#owner.release(this)
  }
}
