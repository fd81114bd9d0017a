import type { Runtime } from '../../device/runtime.js'
import { RoutedAttentionError } from '../../errors.js'
import type { Interrupt } from '../../interrupt.js'

/**
 * What is given back at a life's end. It must not refer to who holds the life: whatever a runtime can reach is never
 * collected.
 */
export interface Memory {
  dispose(): void
}

/**
 * Ends the lives of what was collected without having been disposed of. Made with the first life: nothing happens at
 * import.
 */
let collected: FinalizationRegistry<Lifetime> | undefined

/**
 * The life of something that owns memory: marked disposed at once, its memory given back when the work begun before has
 * ended, which it interrupts. What nobody disposes of ends when it is collected, where the engine tells; not before the
 * work that was begun on it has ended.
 */
export class Lifetime implements Interrupt {
  readonly runtime: Runtime
  readonly #name: string
  readonly #memory: Memory
  readonly #siblings: Set<Lifetime> | undefined
  readonly #holder: WeakRef<object> | undefined
  /** The holder, while work is under way: nobody else may hold it then. */
  readonly #atWork = new Set<object>()
  readonly #listeners = new Set<() => void>()
  #pending = 0
  #disposed = false

  /**
   * @param holder whose life it is
   * @param name what that is, for messages
   * @param memory disposed of once
   * @param siblings among which it is found until then
   */
  constructor(runtime: Runtime, holder: object, name: string, memory: Memory, siblings?: Set<Lifetime>) {
    this.runtime = runtime
    this.#name = name
    this.#memory = memory
    this.#siblings = siblings
    runtime.adopt(this)
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

  /** Runs `work` while the memory is sure to stay. */
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
    if (!this.#disposed || this.#pending > 0) return
    this.runtime.release(this)
    this.#siblings?.delete(this)
    this.#memory.dispose()
  }
}
