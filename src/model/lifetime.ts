import type { Runtime } from '../device/runtime.js'
import { RoutedAttentionError } from '../errors.js'
import type { Interrupt } from '../interrupt.js'

/**
 * The memory released at the end of a lifetime. It must not refer to the holder, since anything reachable from a
 * runtime is never collected.
 */
export interface Memory {
  dispose(): void
}

/**
 * Ends the lifetimes of objects collected without having been disposed of. Created with the first lifetime, so that
 * nothing happens at import.
 */
let collected: FinalizationRegistry<Lifetime> | undefined

/**
 * The lifetime of an object that owns memory. Disposal takes effect immediately and interrupts pending work; the memory
 * is released when that work has ended. If nobody disposes of the object, its lifetime ends some time after it is
 * collected, if the engine reports that, and not before its pending work has ended.
 */
export class Lifetime implements Interrupt {
  readonly runtime: Runtime
  readonly #name: string
  readonly #memory: Memory
  readonly #siblings: Set<Lifetime> | undefined
  readonly #holder: WeakRef<object> | undefined
  /** Keeps the holder alive while work is pending, when nothing else may refer to it. */
  readonly #atWork = new Set<object>()
  readonly #listeners = new Set<() => void>()
  #pending = 0
  #disposed = false
  #isReleased = false

  /**
   * @param holder the object that owns the memory
   * @param name its description, for messages
   * @param memory disposed of once
   * @param siblings the set that contains it until then
   */
  constructor(runtime: Runtime, holder: object, name: string, memory: Memory, siblings?: Set<Lifetime>) {
    this.runtime = runtime
    this.#name = name
    this.#memory = memory
    this.#siblings = siblings
    runtime.addTenant(this)
    siblings?.add(this)
    if (typeof FinalizationRegistry !== 'function') return
    collected ??= new FinalizationRegistry((lifetime) => lifetime.dispose())
    collected.register(holder, this, this)
    this.#holder = new WeakRef(holder)
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

  /** Runs `work` while guaranteeing that the memory stays. */
  async use<T>(work: () => Promise<T>): Promise<T> {
    this.assertUsable()
    const holder = this.#holder?.deref()
    if (holder) this.#atWork.add(holder)
    this.#pending++
    try {
      return await work()
    } finally {
      if (--this.#pending === 0) this.#atWork.clear()
      this.#freeIfIdle()
    }
  }

  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    for (const listener of [...this.#listeners]) listener()
    collected?.unregister(this)
    this.#freeIfIdle()
  }

  #freeIfIdle(): void {
    if (!this.#disposed || this.#isReleased) return
    // isolated callers compute nothing while others run, and may never go on
    if (this.#pending > 0 && !this.runtime.isolatesCallers) return
    this.#isReleased = true
    this.runtime.removeTenant(this)
    this.#siblings?.delete(this)
    this.#memory.dispose()
  }
}
