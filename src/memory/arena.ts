import { RoutedAttentionError } from '../errors.js'

/** WebAssembly's page. */
const PAGE = 65536
/** The smallest page of any system, in bytes. */
const SYSTEM_PAGE = 4096
/** What is touched at a time: up to a millisecond where pages are dear. */
const TOUCHED_BYTES = 1 << 18
/** Every block begins on a cache line, which is also enough for any vector. */
const ALIGNMENT = 64
/** Growing takes at least this share of what there is, so that many small blocks do not grow the memory one by one. */
const GROWTH = 1 / 8

/** A chunk of the arena. */
export interface Block {
  readonly address: number
  readonly byteLength: number
}

interface Span {
  start: number
  end: number
}

/**
 * The allocator over one `WebAssembly.Memory`: the host decides where everything lies, kernels only follow addresses.
 * First fit over a list of free spans in address order; neighbours merge when a block comes back.
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
  /** From here on nothing was ever handed out, so that it holds the zeros it came with. */
  #untouched: number

  /** @param base first address that the module's constants do not occupy */
  constructor(memory: WebAssembly.Memory, base: number) {
    this.memory = memory
    this.#renewViews()
    this.#untouched = alignUp(base)
    this.#free = [{ start: this.#untouched, end: memory.buffer.byteLength }]
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
    this.#untouched = Math.max(this.#untouched, address + size)
    return { address, byteLength: size }
  }

  /**
   * A block of zeros. What no block ever held is left as it is: writing zeros over it would bring pages into memory
   * that may never be used.
   * @throws RoutedAttentionError as `allocate`
   */
  allocateZeros(byteLength: number, purpose: string): Block {
    const untouched = this.#untouched
    const block = this.allocate(byteLength, purpose)
    const end = Math.min(block.address + block.byteLength, untouched)
    if (block.address < end) this.bytes.fill(0, block.address, end)
    return block
  }

  /**
   * Brings `byteLength` bytes that no block ever held into the process's memory, a slice at each step: pages are backed
   * on first use, which takes a virtual machine up to 14 µs for each. Ends early where a block takes some of them, or
   * the memory would not grow.
   */
  *touch(byteLength: number): Generator<void, void> {
    const start = this.#untouched
    const end = start + byteLength
    if (end > this.reserved && !this.#tryExtend(end - this.reserved)) return
    for (let at = start; at < end && this.#untouched === start; yield) {
      for (const stop = Math.min(end, at + TOUCHED_BYTES); at < stop; at += SYSTEM_PAGE) this.bytes[at] = 0
    }
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
    if (!this.#tryExtend(size - tail)) {
      throw new RoutedAttentionError(
        'OUT_OF_MEMORY',
        `${purpose} needs ${size} bytes, and the memory of ${top} bytes (${this.#used} in use) would not grow by ${pagesOf(size - tail) * PAGE}; dispose of what is no longer needed`,
      )
    }
  }

  /** Grows the memory by at least so much, and frees what is new. */
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
