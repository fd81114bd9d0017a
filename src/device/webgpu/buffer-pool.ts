/** Buffers differ in length by whole steps of this, so that calls of about one size share them. */
const STEP = 1 << 16
/** Bytes kept for reuse, at most. */
const MOST = 512 << 20

/**
 * Buffers that were given back, for whoever next wants one of their length: a driver takes milliseconds to make a large one, and clears it. Work on
 * the queue keeps its order, so one may be taken while the work of whoever had it before is still to be done.
 */
export class BufferPool {
  readonly #gpu: GPUDevice
  /** By length and usage, the last given back last. */
  readonly #free = new Map<string, GPUBuffer[]>()
  readonly #ids = new WeakMap<GPUBuffer, number>()
  #nextId = 1
  #kept = 0

  constructor(gpu: GPUDevice) {
    this.#gpu = gpu
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

  take(byteLength: number, usage: GPUBufferUsageFlags, most: number): GPUBuffer {
    const size = Math.min(Math.max(4, Math.ceil(byteLength / STEP) * STEP), Math.ceil(most / 4) * 4)
    const known = this.#free.get(`${size} ${usage}`)?.pop()
    if (!known) return this.#gpu.createBuffer({ size, usage })
    this.#kept -= size
    return known
  }

  /** Keeps a buffer; those of lengths that nobody wanted for longest make room. */
  give(buffer: GPUBuffer): void {
    const key = `${buffer.size} ${buffer.usage}`
    const known = this.#free.get(key) ?? []
    this.#free.delete(key)
    this.#free.set(key, known)
    known.push(buffer)
    this.#kept += buffer.size
    for (const [oldest, buffers] of this.#free) {
      while (this.#kept > MOST && buffers.length > 0) {
        const dropped = buffers.shift()!
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
