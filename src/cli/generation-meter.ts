import type { RuntimeInfo } from '../index.js'
import { formatCount, formatRate, formatRuntime } from './format.js'

/** Measures the progress and speed of a generation. */
export class GenerationMeter {
  #promptTokens: number | null = null
  #read = 0
  #tokens = 0
  #finishReason: string | null = null
  #begin = performance.now()
  #first = 0
  #last = 0

  /** Reading a prompt of this many tokens begins. */
  begin(promptTokens: number): void {
    this.#promptTokens = promptTokens
    this.#begin = performance.now()
  }

  /** This many tokens of the prompt have been read. */
  read(tokens: number): void {
    this.#read = tokens
  }

  count(finishReason: string | null): void {
    this.#last = performance.now()
    if (this.#tokens++ === 0) this.#first = this.#last
    this.#read = this.#promptTokens ?? 0
    this.#finishReason = finishReason
  }

  get tokens(): number {
    return this.#tokens
  }

  /**
   * Prompt tokens per second; measured up to the first generated token, which arrives together with the end of the
   * prompt.
   */
  get #promptRate(): number | null {
    return this.#tokens > 0 ? this.#read / ((this.#first - this.#begin) / 1000) : null
  }

  /** Generated tokens per second, not counting the first. */
  get rate(): number | null {
    return this.#tokens > 1 ? (this.#tokens - 1) / ((this.#last - this.#first) / 1000) : null
  }

  /** For programs. */
  toJSON(): object {
    return {
      finishReason: this.#finishReason,
      promptTokens: this.#promptTokens,
      promptTokensRead: this.#read,
      tokens: this.#tokens,
      promptTokensPerSecond: this.#promptRate,
      tokensPerSecond: this.rate,
    }
  }

  /** For people, on one line. */
  summary(seed: number, runtime: RuntimeInfo): string {
    return `${this.#describePrompt()}, ${this.#describeText()}; seed ${seed}; ${formatRuntime(runtime)}`
  }

  #describePrompt(): string {
    const total = this.#promptTokens
    if (total === null) return 'the prompt was not fully encoded'
    const rate = this.#promptRate
    if (rate !== null) return `${formatCount(total)} prompt tokens at ${formatRate(rate)} tokens/s`
    return this.#read < total
      ? `${formatCount(this.#read)} of ${formatCount(total)} prompt tokens read`
      : `${formatCount(total)} prompt tokens`
  }

  #describeText(): string {
    const made = `${formatCount(this.#tokens)} generated${this.rate === null ? '' : ` at ${formatRate(this.rate)} tokens/s`}`
    return this.#finishReason === 'stop' ? `${made}, up to a stop` : made
  }
}
