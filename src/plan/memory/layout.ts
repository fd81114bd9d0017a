/** Floats are laid out in whole vectors of eight; see "Layouts" in `assembly/ir/ops.ts`. */
export function roundUp(value: number, multiple = 8): number {
  return Math.ceil(value / multiple) * multiple
}

/** Assigns offsets in a buffer that has not been allocated yet. */
export class Layout {
  #byteLength = 0

  get byteLength(): number {
    return this.#byteLength
  }

  /** Byte offset of the next `byteLength` bytes, aligned to a cache line. */
  bytes(byteLength: number): number {
    const offset = this.#byteLength
    this.#byteLength += roundUp(byteLength, 64)
    return offset
  }

  /** Byte offset of this many 32-bit values. */
  words(count: number): number {
    return this.bytes(count * 4)
  }
}
