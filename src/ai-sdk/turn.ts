import type { LanguageModelV4FinishReason, LanguageModelV4Usage } from '@ai-sdk/provider'
import { describe, RoutedAttentionError } from '../errors.js'
import { interruptBy, unlessInterrupted } from '../interrupt.js'
import type { FinishReason, GeneratedToken } from '../model/generation/generate.js'
import type { GenerateOptions } from '../model/generation/generate-options.js'
import type { LanguageModel } from '../model/language-model.js'
import type { PrefixCache } from '../model/prefix-cache.js'
import type { Constraint } from './options.js'

/** What an answer is made of. */
export interface TurnPlan {
  readonly model: LanguageModel
  /** The prompt. */
  readonly ids: Int32Array
  readonly options: GenerateOptions
  readonly abortSignal: AbortSignal | undefined
  readonly prefixCache: PrefixCache | undefined
  /** Makes the constraint, if the answer has one. */
  readonly constrain: (() => Constraint | Promise<Constraint>) | undefined
}

/** One answer: its tokens, and what is known of it once they have been iterated over. */
export class Turn {
  readonly #plan: TurnPlan
  /** Ends everything the turn does. */
  readonly #leaving = new AbortController()
  #cachedTokens = 0
  #completionTokens = 0
  #finishReason: FinishReason = 'length'

  /** @throws RoutedAttentionError as `model.generate` does at the call */
  constructor(plan: TurnPlan) {
    this.#plan = plan
    const { model, ids, options } = plan
    model.generate(ids, options) // checks the arguments, and holds nothing until it is iterated over
  }

  get finishReason(): LanguageModelV4FinishReason {
    return { unified: this.#finishReason, raw: this.#finishReason }
  }

  get usage(): LanguageModelV4Usage {
    const [total, cached, written] = [this.#plan.ids.length, this.#cachedTokens, this.#completionTokens]
    return {
      inputTokens: { total, noCache: total - cached, cacheRead: cached, cacheWrite: undefined },
      outputTokens: { total: written, text: written, reasoning: 0 },
    }
  }

  /** Whether it was aborted or cancelled. */
  get isAborted(): boolean {
    return this.#leaving.signal.aborted
  }

  /** Ends the iteration with this reason. */
  cancel(reason: unknown): void {
    this.#leaving.abort(reason)
  }

  /** Generates the tokens, once; it holds nothing until the first `next()`, and nothing afterwards. */
  async *tokens(): AsyncGenerator<GeneratedToken, void, undefined> {
    const { abortSignal, options } = this.#plan
    const { signal } = this.#leaving
    abortSignal?.throwIfAborted()
    const abort = () => this.cancel(abortSignal!.reason)
    abortSignal?.addEventListener('abort', abort)
    let constraint: Constraint | undefined
    try {
      constraint = await this.#constraint(signal)
      const stopTokenIds = [...(options.stopTokenIds ?? []), ...(constraint?.stopTokenIds ?? [])]
      for await (const token of this.#generate({ ...options, stopTokenIds, logitsProcessor: constraint?.logitsProcessor, signal })) {
        this.#completionTokens++
        this.#finishReason = token.finishReason ?? this.#finishReason
        yield token
      }
    } finally {
      abortSignal?.removeEventListener('abort', abort)
      constraint?.dispose?.()
    }
  }

  async #constraint(signal: AbortSignal): Promise<Constraint | undefined> {
    const { constrain } = this.#plan
    if (!constrain) return undefined
    const making = Promise.resolve(constrain()).then(checkConstraint)
    try {
      return await unlessInterrupted(making, interruptBy(signal))
    } catch (error) {
      void making.then(
        ({ dispose }) => dispose?.(),
        () => undefined,
      )
      throw error
    }
  }

  #generate(options: GenerateOptions): AsyncGenerator<GeneratedToken, void, undefined> {
    const { model, ids, prefixCache } = this.#plan
    return prefixCache ? this.#continueFrom(prefixCache, options) : model.generate(ids, options)
  }

  async *#continueFrom(cache: PrefixCache, options: GenerateOptions): AsyncGenerator<GeneratedToken, void, undefined> {
    const earlierIds = this.#plan.ids
    const { session, cachedTokens } = await cache.read(earlierIds, { signal: options.signal })
    this.#cachedTokens = cachedTokens
    try {
      const written: number[] = []
      for await (const token of session.generate(null, { ...options, earlierIds })) {
        written.push(token.id)
        yield token
      }
      try {
        cache.remember([...earlierIds, ...written], session)
      } catch (error) {
        // the answer is complete all the same
        if (!(error instanceof RoutedAttentionError && error.code === 'DISPOSED')) throw error
      }
    } finally {
      session.dispose()
    }
  }
}

function checkConstraint(constraint: Constraint): Constraint {
  const { logitsProcessor } = (constraint as Partial<Constraint> | null | undefined) ?? {}
  if (typeof logitsProcessor !== 'function')
    throw new RoutedAttentionError('BAD_ARGUMENT', `constrain must return an object with a logitsProcessor, got ${describe(constraint)}`)
  return constraint
}
