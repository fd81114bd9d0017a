import { RoutedAttentionError } from '../errors.js'

/** WebAssembly page size. */
const PAGE = 65536
/** Every block starts on a cache line, which also satisfies any vector. */
const ALIGNMENT = 64
/** Minimum growth relative to the current size, so that many small blocks do not grow the memory one by one. */
const GROWTH = 1 / 8

/** A block of the arena. */
export interface Block {
  readonly address: number
  readonly byteLength: number
}

interface Span {
  start: number
  end: number
}

/**
 * Allocator over one `WebAssembly.Memory`. The host decides where everything goes; kernels only follow addresses. First
 * fit over a list of free spans in address order; freed neighbours merge.
 */
export class Arena {
  readonly memory: WebAssembly.Memory
  /** Views of the whole memory; replaced when it grows, so never keep one across an allocation. */
  bytes!: Uint8Array
  ints!: Int32Array
  floats!: Float32Array
  doubles!: Float64Array
  #free: Span[]
  #used = 0
  /** Nothing beyond this address was ever allocated, so it still contains zeros. */
  #untouched: number

  /** @param base first address not occupied by the module's constants */
  constructor(memory: WebAssembly.Memory, base: number) {
    this.memory = memory
    this.#renewViews()
    this.#untouched = alignUp(base)
    this.#free = [{ start: this.#untouched, end: memory.buffer.byteLength }]
  }

  /** Bytes in allocated blocks. */
  get used(): number {
    return this.#used
  }

  /** Size of the memory in bytes. */
  get reserved(): number {
    return this.bytes.byteLength
  }

  /**
   * Allocates a block with undefined contents.
   * @throws RoutedAttentionError `OUT_OF_MEMORY` if the memory cannot grow enough; nothing has changed then
   */
  allocate(byteLength: number, purpose: string): Block {
    const size = Math.max(alignUp(byteLength), ALIGNMENT)
    let index = this.#free.findIndex(({ start, end }) => end - start >= size)
    if (index < 0) {
      this.#grow(size, purpose)
      index = this.#free.length - 1
    }
    const span = this.#free[index]!
    const address = span.start
    span.start += size
    if (span.start === span.end) this.#free.splice(index, 1)
    this.#used += size
    this.#untouched = Math.max(this.#untouched, address + size)
    return { address, byteLength: size }
  }

  /**
   * Allocates a block of zeros. Memory never allocated before is not written, since that would commit pages that may
   * never be used.
   * @throws RoutedAttentionError as `allocate`
   */
  allocateZeros(byteLength: number, purpose: string): Block {
    const untouched = this.#untouched
    const block = this.allocate(byteLength, purpose)
    const end = Math.min(block.address + block.byteLength, untouched)
    if (block.address < end) this.bytes.fill(0, block.address, end)
    return block
  }

  /** Frees a block; each block must be freed exactly once. */
  free({ address, byteLength }: Block): void {
    this.#used -= byteLength
    const end = address + byteLength
    let index = this.#free.findIndex((span) => span.start > address)
    if (index < 0) index = this.#free.length
    const before = this.#free[index - 1]
    const after = this.#free[index]
    const joinsBefore = before?.end === address
    const joinsAfter = after?.start === end
    if (joinsBefore && joinsAfter) {
      before.end = after.end
      this.#free.splice(index, 1)
    } else if (joinsBefore) before.end = end
    else if (joinsAfter) after.start = address
    else this.#free.splice(index, 0, { start: address, end })
  }

  #grow(size: number, purpose: string): void {
    const last = this.#free.at(-1)
    const top = this.reserved
    const tail = last?.end === top ? top - last.start : 0
    if (!this.#tryExtend(size - tail)) {
      throw new RoutedAttentionError(
        'OUT_OF_MEMORY',
        `${purpose} needs ${size} bytes, and the memory of ${top} bytes (${this.#used} in use) would not grow by ${pagesOf(size - tail) * PAGE}; dispose of objects that are no longer needed`,
      )
    }
  }

  /** Grows the memory by at least this much, and frees the new part. */
  #tryExtend(byteLength: number): boolean {
    const last = this.#free.at(-1)
    const top = this.reserved
    const needed = pagesOf(byteLength)
    const generous = Math.max(needed, Math.ceil((top / PAGE) * GROWTH))
    if (!this.#tryGrow(generous) && !this.#tryGrow(needed)) return false
    if (last?.end === top) last.end = this.reserved
    else this.#free.push({ start: top, end: this.reserved })
    return true
  }

  #tryGrow(pages: number): boolean {
    try {
      this.memory.grow(pages)
    } catch {
      return false
    }
    this.#renewViews()
    return true
  }

  #renewViews(): void {
    const { buffer } = this.memory
    this.bytes = new Uint8Array(buffer)
    this.ints = new Int32Array(buffer)
    this.floats = new Float32Array(buffer)
    this.doubles = new Float64Array(buffer)
  }
}

function pagesOf(byteLength: number): number {
  return Math.ceil(byteLength / PAGE)
}

function alignUp(value: number): number {
  return Math.ceil(value / ALIGNMENT) * ALIGNMENT
}
