import type { Engine } from '../client.js'
import { EngineError } from '../client.js'
import type { Look, TextName } from '../protocol.js'

/** Tokens whose looks are kept, the newest ones; older ones are computed again. */
const KEPT = 1024
/** Looks of other tokens that are kept. */
const OTHERS = 64

/** Fetches looks at single tokens, the latest request only. */
export class Looker {
  readonly #engine: Engine
  readonly #text: TextName
  #looks = new Map<number, Look>()
  #current: AbortController | undefined

  constructor(engine: Engine, text: TextName) {
    this.#engine = engine
    this.#text = text
  }

  /** @returns undefined if another token was asked for meanwhile */
  async look(position: number, length: number): Promise<Look | undefined> {
    this.cancel()
    const known = this.#looks.get(position)
    if (known) return known
    const controller = new AbortController()
    this.#current = controller
    try {
      const look = await this.#engine.call('look', { text: this.#text, position }, { signal: controller.signal })
      this.#keep(look, length)
      return controller.signal.aborted ? undefined : look
    } catch (error) {
      if (error instanceof EngineError && error.aborted) return undefined
      throw error
    }
  }

  cancel(): void {
    this.#current?.abort()
    this.#current = undefined
  }

  /** Forgets what may have changed from a position on. */
  forget(from = 0): void {
    this.cancel()
    for (const position of this.#looks.keys()) if (position >= from) this.#looks.delete(position)
  }

  #keep(look: Look, length: number): void {
    this.#looks.set(look.position, look)
    const others = [...this.#looks.keys()].filter((position) => position < length - KEPT)
    for (const position of others.slice(0, -OTHERS)) this.#looks.delete(position)
  }
}
