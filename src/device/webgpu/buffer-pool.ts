/** Buffers differ in length by whole ops of this, so that calls of about one size share them. */
const STEP = 1 << 16
/** Bytes kept for reuse, at most. */
const MOST = 512 << 20

/** What a pool asks of whoever has it. */
export interface PoolOwner {
  /** Hands over the work that still needs what is to be destroyed. */
  settle(): void
  /** Takes note of what the GPU has no memory for, as soon as that is known. */
  watch(scope: Promise<GPUError | null>, refused: (message: string) => string): void
}

/**
 * Buffers that were given back, for whoever next wants one of their length: a driver takes milliseconds to make a large
 * one, and clears it. Work on the queue keeps its order, so one may be taken while the work of whoever had it before is
 * still to be done.
 */
export class BufferPool {
  readonly #gpu: GPUDevice
  /** By length and usage, the last given back last. */
  readonly #free = new Map<string, GPUBuffer[]>()
  readonly #ids = new WeakMap<GPUBuffer, number>()
  #nextId = 1
  /** Those that the GPU had no memory for. */
  readonly #refused = new WeakSet<GPUBuffer>()
  readonly #owner: PoolOwner
  #kept = 0

  constructor(gpu: GPUDevice, owner: PoolOwner) {
    this.#gpu = gpu
    this.#owner = owner
  }

  /** One number for each buffer, whoever has it. */
  idOf(buffer: GPUBuffer): number {
    let id = this.#ids.get(buffer)
    if (id === undefined) this.#ids.set(buffer, (id = this.#nextId++))
    return id
  }

  /** Bytes kept for reuse. */
  get kept(): number {
    return this.#kept
  }

  /**
   * @param most bytes that it may have, a multiple of 4
   * @param purpose for the message, should there be no memory for it
   */
  take(byteLength: number, usage: GPUBufferUsageFlags, most: number, purpose: string): GPUBuffer {
    const size = Math.min(Math.max(1, Math.ceil(byteLength / STEP)) * STEP, most)
    const known = this.#free.get(keyOf({ size, usage }))?.pop()
    if (known) {
      this.#kept -= size
      return known
    }
    this.#gpu.pushErrorScope('out-of-memory')
    const buffer = this.#gpu.createBuffer({ label: purpose, size, usage })
    this.#owner.watch(this.#gpu.popErrorScope(), (message) => {
      this.#refuse(buffer)
      return `${purpose} needs ${byteLength} bytes, which the GPU does not have: ${message}`
    })
    return buffer
  }

  /** Never gives a buffer out again. */
  #refuse(buffer: GPUBuffer): void {
    this.#refused.add(buffer)
    const key = keyOf(buffer)
    const known = this.#free.get(key)
    if (!known?.includes(buffer)) return
    this.#kept -= buffer.size
    this.#free.set(
      key,
      known.filter((other) => other !== buffer),
    )
  }

  /** Keeps a buffer; those of lengths that nobody wanted for longest make room. */
  give(buffer: GPUBuffer): void {
    if (this.#refused.has(buffer)) return
    const key = keyOf(buffer)
    const known = this.#free.get(key) ?? []
    this.#free.delete(key)
    this.#free.set(key, known)
    known.push(buffer)
    this.#kept += buffer.size
    for (const [oldest, buffers] of this.#free) {
      while (this.#kept > MOST && buffers.length > 0) {
        const dropped = buffers.shift()!
        this.#owner.settle()
        this.#kept -= dropped.size
        dropped.destroy()
      }
      if (buffers.length === 0) this.#free.delete(oldest)
      if (this.#kept <= MOST) return
    }
  }

  clear(): void {
    for (const buffers of this.#free.values()) for (const buffer of buffers) buffer.destroy()
    this.#free.clear()
    this.#kept = 0
  }
}

/** Buffers of one key may stand in for each other. */
function keyOf({ size, usage }: Pick<GPUBuffer, 'size' | 'usage'>): string {
  return `${size} ${usage}`
}
