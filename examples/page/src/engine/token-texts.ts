import type { Tokenizer } from 'routed-attention'

const INCOMPLETE = '\uFFFD'
/** A character of UTF-8 has at most this many bytes, so at most so many tokens. */
const MOST_PARTS = 4

/** The text that each token adds to what stands before it. */
export class TokenTexts {
  readonly #tokenizer: Tokenizer
  readonly #texts = new Map<number, string>()
  /** A token that others are decoded behind: some decoders drop the space before a text's first word. */
  readonly #anchor: number[]

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer
    this.#anchor = tokenizer.encode('a').slice(-1)
  }

  /** Of one token by itself; the bytes of an incomplete character are U+FFFD. */
  of(id: number): string {
    let text = this.#texts.get(id)
    if (text === undefined) {
      const before = this.#tokenizer.decode(this.#anchor)
      text = this.#tokenizer.decode([...this.#anchor, id]).slice(before.length)
      this.#texts.set(id, text)
    }
    return text
  }

  /** Of tokens in a row: a character that several tokens share belongs to the last of them. */
  ofAll(ids: ArrayLike<number>): string[] {
    const texts: string[] = []
    for (let at = 0; at < ids.length;) {
      const parts = this.#partsAt(ids, at)
      if (parts === 1) texts.push(this.of(ids[at]!))
      else {
        const group = Array.from({ length: parts }, (_, part) => ids[at + part]!)
        texts.push(...group.slice(1).map(() => ''), this.#decode(group))
      }
      at += parts
    }
    return texts
  }

  /** How many tokens make whole characters from here on. */
  #partsAt(ids: ArrayLike<number>, at: number): number {
    if (!this.of(ids[at]!).includes(INCOMPLETE)) return 1
    const group: number[] = []
    while (group.length < MOST_PARTS && at + group.length < ids.length) {
      group.push(ids[at + group.length]!)
      if (!this.#decode(group).includes(INCOMPLETE)) return group.length
    }
    return 1
  }

  #decode(ids: readonly number[]): string {
    const before = this.#tokenizer.decode(this.#anchor)
    return this.#tokenizer.decode([...this.#anchor, ...ids]).slice(before.length)
  }
}
