import { type Interrupt, unlessInterrupted } from '../../interrupt.js'
import type { Signal } from '../../platform.js'
import type { Generation } from './generate-options.js'
import { LogitsAdjuster } from './logits-adjuster.js'
import { createSampler, mostProbable, type Sample, type Sampler, type TokenLogprob } from './sampling.js'
import { createTextStream, type TextStream } from '../text/text-stream.js'
import type { TokenIds } from '../text/token-ids.js'

/** Why a generation ended: at a stop text, a stop token or the end of text; or at `maxTokens` or `max_positions`. */
export type FinishReason = 'stop' | 'length'

/** A token of a continuation. */
export interface GeneratedToken {
  /** Its id, below `config.numTokens`. */
  readonly id: number
  /**
   * Text that is certain with this token: whole characters, and nothing that may yet become a stop text. Empty for a
   * stop token, and without a tokenizer. The prompt's text and all of these are the text of all tokens but the stop
   * token, up to a stop text.
   */
  readonly text: string
  /**
   * ln p of the token, as the model has it: before penalties, `logitBias`, `logitsProcessor`, temperature and the rest.
   */
  readonly logprob: number
  /** With `topLogprobs`: the most probable tokens in its place, as the model has them, in descending order. */
  readonly topLogprobs?: readonly TokenLogprob[]
  /** null on every item but the last. */
  readonly finishReason: FinishReason | null
}

/** A sequence that a generation goes on with. */
export interface Reading {
  readonly position: number
  /** The last ids of what has been read, oldest first. */
  readonly recentIds: Int32Array
  /** Ends what the generation waits for: its signal, and what is disposed of. */
  readonly interrupt: Interrupt
  /**
   * Reads on; nothing repeats the last logits.
   * @returns logits after the last token, the caller's own
   */
  append(tokenIds: TokenIds, options: ReadingOptions): Promise<Float32Array>
  /** Ends it. @param unread the last token that was given out, where it has not been read */
  close(unread: number | undefined): Promise<void>
}

export interface ReadingOptions {
  readonly signal: Signal | undefined
  /** Told how many of the tokens have been read. */
  readonly onRead?: ((tokens: number) => void) | undefined
}

/**
 * Goes on with a sequence. When it ends, however it does, the sequence has read every token that was given out.
 * @param open called at the first `next()`: a generation that is never asked for a token holds nothing
 */
export async function* generate(
  generation: Generation,
  open: () => Reading | Promise<Reading>,
): AsyncGenerator<GeneratedToken, void, undefined> {
  const { signal, stopIds, maxPositions } = generation
  signal?.throwIfAborted()
  const reading = await open()
  let unread: number | undefined
  let failed = false
  try {
    // before the prompt is read: the last ids are those behind which it stands
    const writer = new TokenWriter(generation, reading.recentIds, reading.interrupt)
    let logits = await readPrompt(generation, reading)
    const room = maxPositions === null ? Infinity : maxPositions - reading.position
    const maxTokens = Math.min(generation.maxTokens, room)
    const last = [0]
    const request = { signal }
    /** Not given out yet: where the next token ends the text, what is held back of it belongs to this one. */
    let held: GeneratedToken | undefined
    for (let made = 1; made <= maxTokens; made++) {
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
    // what failed first is told
    await reading.close(unread).catch((error: unknown) => {
      if (!failed) throw error
    })
  }
}

/** @returns logits after it */
async function readPrompt({ ids, signal, onProgress }: Generation, reading: Reading): Promise<Float32Array> {
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

/** Chooses tokens by logits, and tells their text. */
class TokenWriter {
  readonly #stopIds: ReadonlySet<number>
  readonly #sampler: Sampler
  readonly #adjuster: LogitsAdjuster | undefined
  /** The logits as they came, where they are adjusted. */
  readonly #given: Float32Array | undefined
  readonly #text: TextStream | undefined
  readonly #interrupt: Interrupt

  /**
   * @param before the last ids before the prompt
   * @param interrupt ends the wait for a processor
   */
  constructor({ tokenizer, ids, sampling, logits, stops, stopIds, numTokens }: Generation, before: Int32Array, interrupt: Interrupt) {
    this.#stopIds = stopIds
    this.#sampler = createSampler(sampling)
    this.#adjuster = logits && new LogitsAdjuster(logits, ids)
    this.#interrupt = interrupt
    this.#given = logits && new Float32Array(numTokens)
    const all = new Int32Array(before.length + ids.length)
    all.set(before)
    all.set(ids, before.length)
    this.#text = tokenizer && createTextStream(tokenizer, stops, all)
  }

  /** Whether text is held back that a stop token would end. */
  get isHolding(): boolean {
    return this.#stopIds.size > 0 && this.#text?.isHolding === true
  }

  /** @param logits written over where they are adjusted */
  write(logits: Float32Array, isLast: boolean): GeneratedToken | Promise<GeneratedToken> {
    if (!this.#adjuster) return this.#tell(this.#sampler.sample(logits), isLast)
    return this.#adjustAndTell(logits, isLast)
  }

  async #adjustAndTell(logits: Float32Array, isLast: boolean): Promise<GeneratedToken> {
    const given = this.#given!
    mostProbable(logits) // what is no distribution is not offered for adjustment
    given.set(logits)
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

  /** The text that was held back. */
  flush(): string {
    return this.#text?.flush() ?? ''
  }
}
