import type { Tokenizer } from 'routed-attention'
import type { Piece } from '../protocol.js'
import { byteTokens } from './byte-tokens.js'

const INCOMPLETE = '\uFFFD'
/** A character of UTF-8 has at most this many bytes, so at most so many tokens. */
const MOST_PARTS = 4
const UNKNOWN = new Uint8Array()

/** The text that each token adds to what stands before it. */
export class TokenTexts {
  readonly #tokenizer: Tokenizer
  readonly #texts = new Map<number, string | Uint8Array>()
  /** A token that others are decoded behind: some decoders drop the space before a text's first word. */
  readonly #anchor: number[]
  #bytes: Map<number, Uint8Array> | undefined

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer
    this.#anchor = tokenizer.encode('a').slice(-1)
  }

  /** Of one token by itself: its bytes, if they are no whole characters. */
  of(id: number): string | Uint8Array {
    let text = this.#texts.get(id)
    if (text === undefined) {
      const decoded = this.#decode([id])
      text = decoded.includes(INCOMPLETE) ? this.#bytesOf(id) : decoded
      this.#texts.set(id, text)
    }
    return text
  }

  /** Of tokens in a row: a character that several tokens share stands at the first of them, and null at the others. */
  ofAll(ids: ArrayLike<number>, start = 0, end = ids.length): Piece[] {
    const texts: Piece[] = []
    for (let at = this.wholeStart(ids, start); at < end;) {
      const group = this.#groupAt(ids, at)
      const text = group.length === 1 ? this.of(group[0]!) : this.#decode(group)
      group.forEach((_, part) => at + part >= start && at + part < end && texts.push(part === 0 ? text : null))
      at += group.length
    }
    return texts
  }

  /** Of one token where it stands; of a part of a character, the whole character. */
  at(ids: ArrayLike<number>, position: number): string | Uint8Array {
    const start = this.wholeStart(ids, position)
    for (let at = start; at <= position;) {
      const group = this.#groupAt(ids, at)
      if (group.length > 1 && position < at + group.length) return this.#decode(group)
      at += group.length
    }
    return this.of(ids[position]!)
  }

  /** The first token of the character that a token may go on with. */
  wholeStart(ids: ArrayLike<number>, position: number): number {
    let start = position
    while (start > 0 && position - start < MOST_PARTS - 1 && typeof this.of(ids[start - 1]!) !== 'string') start--
    return start
  }

  /** Tokens that make whole characters from here on; one, if none do. */
  #groupAt(ids: ArrayLike<number>, at: number): number[] {
    const group = [ids[at]!]
    if (typeof this.of(ids[at]!) === 'string') return group
    while (group.length < MOST_PARTS && at + group.length < ids.length) {
      group.push(ids[at + group.length]!)
      if (!this.#decode(group).includes(INCOMPLETE)) return group
    }
    return group.slice(0, 1)
  }

  #bytesOf(id: number): Uint8Array {
    this.#bytes ??= byteTokens(this.#tokenizer)
    return this.#bytes.get(id) ?? UNKNOWN
  }

  #decode(ids: readonly number[]): string {
    const before = this.#tokenizer.decode(this.#anchor)
    return this.#tokenizer.decode([...this.#anchor, ...ids]).slice(before.length)
  }
}
