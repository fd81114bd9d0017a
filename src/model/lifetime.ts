import type { Runtime } from '../device/runtime.js'
import { RoutedAttentionError } from '../errors.js'
import type { Interrupt } from '../interrupt.js'

/** The life of something that owns memory: marked disposed at once, its memory given back when the work begun before has ended, which it interrupts. */
export class Lifetime implements Interrupt {
  readonly runtime: Runtime
  readonly #name: string
  readonly #free: () => void
  readonly #listeners = new Set<() => void>()
  #pending = 0
  #disposed = false

  /** @param name what it is, for messages; @param free gives the memory back, called once */
  constructor(runtime: Runtime, name: string, free: () => void) {
    this.runtime = runtime
    this.#name = name
    this.#free = free
    runtime.adopt(this)
  }

  get disposed(): boolean {
    return this.#disposed
  }

  /** @throws RoutedAttentionError `DISPOSED` */
  assertUsable(): void {
    this.runtime.assertUsable()
    if (this.#disposed) throw new RoutedAttentionError('DISPOSED', `this ${this.#name} was disposed`)
  }

  check(): void {
    this.assertUsable()
  }

  listen(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Runs `work` while the memory is sure to stay. */
  async use<T>(work: () => Promise<T>): Promise<T> {
    this.assertUsable()
    this.#pending++
    try {
      return await work()
    } finally {
      this.#pending--
      this.#freeIfIdle()
    }
  }

  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    for (const listener of [...this.#listeners]) listener()
    this.#freeIfIdle()
  }

  #freeIfIdle(): void {
    if (!this.#disposed || this.#pending > 0) return
    this.runtime.release(this)
    this.#free()
  }
}
