import type { LanguageModel, Session } from 'routed-attention'
import { IncrementalEncoder } from './incremental-encoder.js'
import type { TokenTexts } from './token-texts.js'

/** Longer runs without a space are not completed: their tokens are no longer guessed. */
const LONGEST_TAIL = 64

/**
 * Completes a text while it is typed. One session has read the text up to its last word, and reads on as words are
 * added; the unfinished word is written by a copy, held to the letters that stand there, so that it need not be cut into
 * tokens as it would be if it ended here.
 */
export class Suggester {
  readonly #model: LanguageModel
  readonly #texts: TokenTexts
  readonly #encoder: IncrementalEncoder
  #session: Session
  /** What the session has read. */
  #read: number[] = []
  /** An earlier state of the session, for when the last words are taken back. */
  #earlier: Session[] = []

  constructor(model: LanguageModel, texts: TokenTexts) {
    this.#model = model
    this.#texts = texts
    this.#encoder = new IncrementalEncoder(model.tokenizer, texts)
    this.#session = model.createSession()
  }

  /** @returns what follows the text's last character; empty if nothing is suggested */
  async suggest(text: string, tokens: number, signal: AbortSignal): Promise<string> {
    const tail = /\s*\S*$/.exec(text)![0]
    if (text === tail || tail.length > LONGEST_TAIL) return ''
    await this.#readOn(this.#encoder.encode(text.slice(0, text.length - tail.length)), signal)
    if (this.#session.position === 0) return ''
    const session = this.#session.clone()
    try {
      return await this.#complete(session, tail, tokens, signal)
    } finally {
      session.dispose()
    }
  }

  /** Reads what is new; goes back to a state that has read only what is common. */
  async #readOn(ids: readonly number[], signal: AbortSignal): Promise<void> {
    let common = 0
    while (common < ids.length && common < this.#read.length && ids[common] === this.#read[common]) common++
    if (common < this.#read.length) this.#goBack(common)
    const start = this.#read.length
    if (start === ids.length) return
    await this.#session.append(ids.slice(start), { signal })
    this.#read = [...ids]
    this.#keep()
  }

  #goBack(common: number): void {
    this.#session.dispose()
    while ((this.#earlier.at(-1)?.position ?? 0) > common) this.#earlier.pop()!.dispose()
    const base = this.#earlier.at(-1)
    this.#session = base ? base.clone() : this.#model.createSession()
    this.#read = this.#read.slice(0, this.#session.position)
  }

  /** Keeps a few states: the newest, and ever sparser ones before. */
  #keep(): void {
    this.#earlier.push(this.#session.clone())
    if (this.#earlier.length <= 8) return
    const end = this.#session.position
    let least = 0
    let smallest = Infinity
    for (let i = 0; i < this.#earlier.length - 1; i++) {
      const gap = this.#earlier[i + 1]!.position - (this.#earlier[i - 1]?.position ?? 0)
      const cost = gap / (end - this.#earlier[i]!.position + 1)
      if (cost < smallest) [least, smallest] = [i, cost]
    }
    this.#earlier.splice(least, 1)[0]!.dispose()
  }

  async #complete(session: Session, tail: string, tokens: number, signal: AbortSignal): Promise<string> {
    let logits = await session.append([], { signal })
    let written = ''
    for (let count = 0; count < tokens;) {
      const id = this.#likeliest(logits, tail.slice(written.length))
      if (id < 0 || this.#model.eosTokenIds.includes(id)) break
      written += this.#texts.of(id) as string
      if (written.length > tail.length) count++
      // a suggestion stays within its line
      if (written.length > tail.length && written.slice(tail.length).includes('\n')) break
      if (count < tokens) logits = await session.append([id], { signal })
      signal.throwIfAborted()
    }
    return written.startsWith(tail) ? written.slice(tail.length).split('\n')[0]! : ''
  }

  /** The likeliest token that agrees with the letters which stand there already; -1 if there is none. */
  #likeliest(logits: Float32Array, due: string): number {
    let best = -1
    for (let id = 0; id < logits.length; id++) {
      if (best >= 0 && !(logits[id]! > logits[best]!)) continue
      const text = this.#texts.of(id)
      if (typeof text !== 'string' || text === '') continue
      if (due === '' || text.startsWith(due) || due.startsWith(text)) best = id
    }
    return best
  }

  dispose(): void {
    this.#session.dispose()
    for (const session of this.#earlier) session.dispose()
  }
}
