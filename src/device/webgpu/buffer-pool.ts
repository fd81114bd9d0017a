/** Granularity of buffer sizes in bytes, so that calls of similar size share buffers. */
const STEP = 1 << 16
/** Maximum number of bytes kept for reuse. */
const MOST = 512 << 20

/** What a pool needs from its owner. */
export interface PoolOwner {
  /** Submits pending work that uses buffers about to be destroyed. */
  settle(): void
  /** Records allocation failures as soon as they are known. */
  watch(scope: Promise<GPUError | null>, refused: (message: string) => string): void
}

/**
 * Released buffers kept for reuse, since a driver takes milliseconds to create and clear a large one. The queue
 * preserves order, so a buffer may be reused while earlier work on it is still pending.
 */
export class BufferPool {
  readonly #gpu: GPUDevice
  /** Free buffers by length and usage, most recently released last. */
  readonly #free = new Map<string, GPUBuffer[]>()
  readonly #ids = new WeakMap<GPUBuffer, number>()
  #nextId = 1
  /** Buffers whose allocation failed on the GPU. */
  readonly #refused = new WeakSet<GPUBuffer>()
  readonly #owner: PoolOwner
  #kept = 0

  constructor(gpu: GPUDevice, owner: PoolOwner) {
    this.#gpu = gpu
    this.#owner = owner
  }

  /** A unique number for each buffer. */
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
   * @param most maximum size in bytes, a multiple of 4
   * @param purpose for the error message if there is no memory
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

  /** Excludes a buffer from reuse. */
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

  /** Keeps a buffer, evicting those of the lengths unused for longest. */
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

/** Buffers with the same key are interchangeable. */
function keyOf({ size, usage }: Pick<GPUBuffer, 'size' | 'usage'>): string {
  return `${size} ${usage}`
}
