import type { Arena, Block } from '../../memory/arena.js'
import { typedArrayKind } from '../../realm.js'
import type { CompiledProgram, DeviceBuffer } from '../device.js'

/**
 * Rows of up to this many values are copied without creating a view, which would be one allocation per token and no
 * faster.
 */
const SHORT_ROW = 8192

/** A block of the arena. */
export class WasmBuffer implements DeviceBuffer {
  readonly #arena: Arena
  readonly #block: Block
  #freed = false

  constructor(arena: Arena, block: Block) {
    this.#arena = arena
    this.#block = block
  }

  get address(): number {
    return this.#block.address
  }

  get byteLength(): number {
    return this.#block.byteLength
  }

  clear(byteOffset = 0, byteLength = this.byteLength - byteOffset): void {
    const start = this.address + byteOffset
    this.#arena.bytes.fill(0, start, start + byteLength)
  }

  write(data: Float32Array | Int32Array | Float64Array, byteOffset: number): void {
    const start = this.address + byteOffset
    const kind = typedArrayKind(data)
    if (kind === 'Float32Array') this.#arena.floats.set(data, start / 4)
    else if (kind === 'Int32Array') this.#arena.ints.set(data, start / 4)
    else this.#arena.doubles.set(data, start / 8)
  }

  writeRows(data: Float32Array, width: number, stride: number, byteOffset: number): void {
    const { floats } = this.#arena
    let at = (this.address + byteOffset) / 4
    if (width === stride) {
      floats.set(data, at)
      return
    }
    for (let from = 0; from < data.length; from += width, at += stride) floats.set(data.subarray(from, from + width), at)
  }

  readFloats(byteOffset: number, length: number): Float32Array {
    const at = (this.address + byteOffset) / 4
    return this.#arena.floats.slice(at, at + length)
  }

  readInts(byteOffset: number, length: number): Int32Array {
    const at = (this.address + byteOffset) / 4
    return this.#arena.ints.slice(at, at + length)
  }

  readDoubles(byteOffset: number, length: number): Float64Array {
    const at = (this.address + byteOffset) / 8
    return this.#arena.doubles.slice(at, at + length)
  }

  readRows(out: Float32Array, at: number, rows: number, width: number, stride: number, byteOffset: number): void {
    const { floats } = this.#arena
    const start = (this.address + byteOffset) / 4
    if (rows === 1 && width <= SHORT_ROW) {
      for (let i = 0; i < width; i++) out[at + i] = floats[start + i]!
      return
    }
    if (width === stride) {
      out.set(floats.subarray(start, start + rows * width), at)
      return
    }
    for (let row = 0; row < rows; row++) out.set(floats.subarray(start + row * stride, start + row * stride + width), at + row * width)
  }

  copyFrom(source: DeviceBuffer): void {
    const { address, byteLength } = source as WasmBuffer
    this.#arena.bytes.copyWithin(this.address, address, address + byteLength)
  }

  dispose(): void {
    if (this.#freed) return
    this.#freed = true
    this.#arena.free(this.#block)
  }
}

/** A program whose words are in the arena. */
export class WasmProgram implements CompiledProgram {
  constructor(readonly buffer: WasmBuffer) {}

  dispose(): void {
    this.buffer.dispose()
  }
}
