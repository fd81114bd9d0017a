import { RoutedAttentionError } from '../errors.js'

/** WebAssembly's page. */
const PAGE = 65536
/** Every block begins on a cache line, which is also enough for any vector. */
const ALIGNMENT = 64
/** Growing takes at least this share of what there is, so that many small blocks do not grow the memory one by one. */
const GROWTH = 1 / 8

/** A piece of the arena. */
export interface Block {
  readonly address: number
  readonly byteLength: number
}

interface Span {
  start: number
  end: number
}

/**
 * The allocator over one `WebAssembly.Memory`: the host decides where everything lies, kernels only follow addresses. First fit over a list of free
 * spans in address order; neighbours merge when a block comes back.
 */
export class Arena {
  readonly memory: WebAssembly.Memory
  /** Views of the whole memory; renewed when it grows, so never keep one over an allocation. */
  bytes!: Uint8Array
  ints!: Int32Array
  floats!: Float32Array
  doubles!: Float64Array
  #free: Span[]
  #used = 0

  /** @param base first address that the module's constants do not occupy */
  constructor(memory: WebAssembly.Memory, base: number) {
    this.memory = memory
    this.#renewViews()
    this.#free = [{ start: alignUp(base), end: memory.buffer.byteLength }]
  }

  /** Bytes in blocks that have not been freed. */
  get used(): number {
    return this.#used
  }

  /** Bytes that the memory holds. */
  get reserved(): number {
    return this.bytes.byteLength
  }

  /**
   * A block; it holds whatever was there before.
   * @throws RoutedAttentionError `OUT_OF_MEMORY` when the memory cannot grow enough; nothing has changed then
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
    return { address, byteLength: size }
  }

  /** Gives a block back. Each block is freed once, by whoever allocated it. */
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
    const needed = Math.ceil((size - tail) / PAGE)
    const generous = Math.max(needed, Math.ceil((top / PAGE) * GROWTH))
    if (!this.#tryGrow(generous) && !this.#tryGrow(needed)) {
      throw new RoutedAttentionError(
        'OUT_OF_MEMORY',
        `${purpose} needs ${size} bytes, and the memory of ${top} bytes (${this.#used} in use) would not grow by ${needed * PAGE}; dispose of what is no longer needed`,
      )
    }
    const end = this.reserved
    if (last && tail > 0) last.end = end
    else this.#free.push({ start: top, end })
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

function alignUp(value: number): number {
  return Math.ceil(value / ALIGNMENT) * ALIGNMENT
}
