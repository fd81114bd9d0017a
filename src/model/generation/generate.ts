import { type Interrupt, unlessInterrupted } from '../../interrupt.js'
import type { Signal } from '../../platform.js'
import type { Generation } from './generate-options.js'
import { LogitsAdjuster } from './logits-adjuster.js'
import type { Sample, TokenLogprob } from './logprob-reader.js'
import { createSampler, mostProbable, type Sampler } from './sampling.js'
import { createTextStream, type TextStream } from '../text/text-stream.js'
import type { TokenIds } from '../text/token-ids.js'

/**
 * Why a generation ended: 'stop' at a stop text, stop token or end-of-text token; 'length' at `maxTokens` or
 * `max_positions`.
 */
export type FinishReason = 'stop' | 'length'

/** One generated token. */
export interface GeneratedToken {
  /** Its id, below `config.numTokens`. */
  readonly id: number
  /**
   * The text that became final with this token: whole characters only, and nothing that might still turn out to be part
   * of a stop text. Empty for a stop token, and if the model has no tokenizer. The concatenation of all `text` values
   * is the decoded continuation, without the stop token and cut before a stop text.
   */
  readonly text: string
  /**
   * ln p of the token under the model's own distribution: before penalties, `logitBias`, `logitsProcessor`, temperature
   * and the rest.
   */
  readonly logprob: number
  /**
   * With `topLogprobs`: the most probable tokens at this position under the model's own distribution, in descending
   * order.
   */
  readonly topLogprobs?: readonly TokenLogprob[]
  /** null on every token but the last. */
  readonly finishReason: FinishReason | null
}

/** A sequence being continued. */
export interface Reading {
  readonly position: number
  /** The last ids read, oldest first. */
  readonly recentIds: Int32Array
  /** Interrupts waiting: when the signal aborts, or the model or session is disposed of. */
  readonly interrupt: Interrupt
  /**
   * Reads tokens; an empty list repeats the last logits.
   * @returns logits after the last token, which the next call overwrites
   */
  append(tokenIds: TokenIds, options: ReadingOptions): Promise<Float32Array>
  /** Ends the generation. @param unread the last token yielded, if the sequence has not read it */
  close(unread: number | undefined): Promise<void>
}

export interface ReadingOptions {
  readonly signal: Signal | undefined
  /** Called with the number of tokens read so far. */
  readonly onRead?: ((tokens: number) => void) | undefined
}

/**
 * Continues a sequence. When the generation ends, for whatever reason, the sequence has read every token that was
 * yielded.
 * @param open called at the first `next()`, so that a generation that is never started holds no memory
 */
export async function* generate(
  generation: Generation,
  open: () => Reading | Promise<Reading>,
): AsyncGenerator<GeneratedToken, void, undefined> {
  const { signal, stopIds, maxPositions, writtenIds } = generation
  signal?.throwIfAborted()
  const reading = await open()
  let unread: number | undefined
  let failed = false
  try {
    // create it before the prompt is read: it needs the last ids before the prompt
    const writer = new TokenWriter(generation, reading.recentIds, reading.interrupt)
    let logits = await readPrompt(generation, reading)
    const room = maxPositions === null ? Infinity : maxPositions - reading.position
    const maxTokens = Math.min(generation.maxTokens, writtenIds.length + room)
    const last = [0]
    const request = { signal }
    /** Held back by one: if the next token ends the text, the text still held back belongs to this one. */
    let held: GeneratedToken | undefined
    for (let made = writtenIds.length + 1; made <= maxTokens; made++) {
      let token: GeneratedToken
      try {
        if (unread !== undefined) {
          last[0] = unread
          logits = await reading.append(last, request)
          unread = undefined
        }
        signal?.throwIfAborted()
        token = await writer.write(logits, made === maxTokens)
        signal?.throwIfAborted()
      } catch (error) {
        if (held) yield held
        throw error
      }
      if (held) {
        yield stopIds.has(token.id) ? { ...held, text: held.text + writer.flush() } : held
        held = undefined
        signal?.throwIfAborted()
      }
      unread = token.id
      if (token.finishReason === null && writer.isHolding) {
        held = token
        continue
      }
      yield token
      if (token.finishReason !== null) return
      signal?.throwIfAborted()
    }
  } catch (error) {
    failed = true
    throw error
  } finally {
    // report the first error, not this one
    await reading.close(unread).catch((error: unknown) => {
      if (!failed) throw error
    })
  }
}

/** @returns logits after the prompt and what was written */
async function readPrompt({ ids: prompt, writtenIds, signal, onProgress }: Generation, reading: Reading): Promise<Float32Array> {
  const ids = join(prompt, writtenIds)
  const total = ids.length
  if (!onProgress || total === 0) return reading.append(ids, { signal })
  let told = 0
  const onRead = (done: number) => {
    if (done <= told) return
    told = done
    onProgress({ type: 'prompt', done, total })
  }
  const logits = await reading.append(ids, { signal, onRead })
  onRead(total)
  return logits
}

/** Chooses tokens from logits and decodes their text. */
class TokenWriter {
  readonly #stopIds: ReadonlySet<number>
  readonly #sampler: Sampler
  readonly #adjuster: LogitsAdjuster | undefined
  readonly #text: TextStream | undefined
  readonly #interrupt: Interrupt

  /**
   * @param before the last ids before the prompt
   * @param interrupt ends the wait for `logitsProcessor`
   */
  constructor(generation: Generation, before: Int32Array, interrupt: Interrupt) {
    const { tokenizer, ids, earlierIds, writtenIds, sampling, logits, stops, stopIds } = generation
    this.#stopIds = stopIds
    this.#sampler = createSampler(sampling)
    this.#adjuster = logits && new LogitsAdjuster(logits, join(earlierIds, ids))
    this.#interrupt = interrupt
    this.#text = tokenizer && createTextStream(tokenizer, stops, join(before, ids))
    this.#sampler.skip(writtenIds.length)
    for (const id of writtenIds) {
      this.#adjuster?.took(id)
      this.#text?.push(id)
    }
  }

  /** Whether text is being held back that a stop token would release. */
  get isHolding(): boolean {
    return this.#stopIds.size > 0 && this.#text?.isHolding === true
  }

  write(logits: Float32Array, isLast: boolean): GeneratedToken | Promise<GeneratedToken> {
    if (!this.#adjuster) return this.#tell(this.#sampler.sample(logits), isLast)
    return this.#adjustAndTell(logits, isLast)
  }

  async #adjustAndTell(given: Float32Array, isLast: boolean): Promise<GeneratedToken> {
    mostProbable(given) // reject invalid logits before adjusting them
    const logits = given.slice()
    const adjusting = this.#adjuster!.adjust(logits)
    if (adjusting) await unlessInterrupted(Promise.resolve(adjusting), this.#interrupt)
    const sample = this.#sampler.sample(logits, given)
    this.#adjuster!.took(sample.id)
    return this.#tell(sample, isLast)
  }

  #tell(sample: Sample, isLast: boolean): GeneratedToken {
    const stream = this.#text
    if (this.#stopIds.has(sample.id)) return { ...sample, text: '', finishReason: 'stop' }
    let text = stream?.push(sample.id) ?? ''
    if (stream && isLast) text += stream.flush()
    return { ...sample, text, finishReason: stream?.isFinished ? 'stop' : isLast ? 'length' : null }
  }

  /** Returns the text that was held back. */
  flush(): string {
    return this.#text?.flush() ?? ''
  }
}

function join(first: Int32Array, second: Int32Array): Int32Array {
  const both = new Int32Array(first.length + second.length)
  both.set(first)
  both.set(second, first.length)
  return both
}
