import { type Engine, EngineError } from '../client.js'
import type { Drawn, Look, SamplingSettings } from '../protocol.js'

/**
 * Asks with which probability the alternatives of a token are drawn. A slider that is moved asks more often than the
 * worker answers: one question is under way at a time, and the next one is asked with the newest settings.
 */
export class Drawings {
  readonly #engine: Engine
  readonly #settings: () => SamplingSettings
  readonly #show: (look: Look, drawn: Drawn) => void
  #look: Look | undefined
  #asking: AbortController | undefined
  #answered: Promise<void> | undefined
  #isStale = false

  constructor(engine: Engine, settings: () => SamplingSettings, show: (look: Look, drawn: Drawn) => void) {
    this.#engine = engine
    this.#settings = settings
    this.#show = show
  }

  /** Asks for another token. */
  async of(look: Look): Promise<void> {
    this.cancel()
    if (look.choices.length === 0) return
    this.#look = look
    await this.again()
  }

  /** Asks once more, with other settings, if a token is looked at; resolves once that is shown. */
  async again(): Promise<void> {
    this.#isStale = true
    if (!this.#look) return
    if (!this.#asking) this.#answered = this.#ask(this.#look)
    await this.#answered
  }

  async #ask(look: Look): Promise<void> {
    const controller = new AbortController()
    this.#asking = controller
    try {
      while (this.#isStale && !controller.signal.aborted) {
        this.#isStale = false
        const params = { position: look.position, ids: look.choices.map(({ id }) => id), sampling: this.#settings() }
        const drawn = await this.#engine.call('drawn', params, { signal: controller.signal })
        if (!controller.signal.aborted) this.#show(look, drawn)
      }
    } catch (error) {
      if (!controller.signal.aborted && !(error instanceof EngineError && error.aborted)) throw error
    } finally {
      if (this.#asking === controller) this.#asking = undefined
    }
  }

  cancel(): void {
    this.#asking?.abort()
    this.#asking = this.#look = undefined
  }
}
