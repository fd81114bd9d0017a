import type { ModelTokenizer } from '../../io/tokenizer.js'

/** Decodes tokens to text one by one, continuing preceding tokens. */
export interface IncrementalDecoder {
  /** Whether later tokens may still change the text of earlier ones. */
  readonly isHolding: boolean
  /**
   * Adds the next token.
   * @returns the text that became final
   * @throws RoutedAttentionError `BAD_ARGUMENT` for an id beyond the vocabulary
   */
  push(id: number): string
  /** Ends the text and returns what was held back. */
  flush(): string
}

/**
 * Decoding continues from `before`: the text of `before` plus all returned pieces equals `tokenizer.decode` of all ids.
 * This holds if a token's text depends only on its neighbours and `before` does not end inside a character; otherwise
 * the first piece contains the whole character.
 * @param before the preceding tokens, or the last of them
 */
export function createIncrementalDecoder(tokenizer: ModelTokenizer, before: ArrayLike<number>): IncrementalDecoder {
  const hasBytes = tokenizer.size > 0 && tokenizer.tokenBytes(0) !== undefined
  return hasBytes ? new ByteDecoder(tokenizer, before) : new NeighbourDecoder(tokenizer, before)
}

/** Preceding tokens to look at for an unfinished character: it has at most four bytes, and few tokens have none. */
const BYTES_BEFORE = 16

/** For tokenizers whose text is the concatenation of the tokens' bytes. */
class ByteDecoder implements IncrementalDecoder {
  readonly #tokenizer: ModelTokenizer
  readonly #utf8 = new TextDecoder('utf-8', { ignoreBOM: true })
  /** The last bytes, up to three: enough to recognise an unfinished character. */
  #end: number[] = []
  /** Whether the preceding text ended inside a character, which was decoded as U+FFFD. */
  #isContinued: boolean

  constructor(tokenizer: ModelTokenizer, before: ArrayLike<number>) {
    this.#tokenizer = tokenizer
    for (let i = Math.max(0, before.length - BYTES_BEFORE); i < before.length; i++) this.#decode(before[i]!)
    this.#isContinued = this.isHolding
  }

  get isHolding(): boolean {
    const { length } = this.#end
    for (let back = 1; back <= length; back++) {
      const byte = this.#end[length - back]!
      if (byte >= 0xc0) return back < (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2)
      if (byte < 0x80) return false
    }
    return false
  }

  #decode(id: number): string {
    const bytes = this.#tokenizer.tokenBytes(id)!
    for (let i = Math.max(0, bytes.length - 3); i < bytes.length; i++) this.#end.push(bytes[i]!)
    this.#end.splice(0, this.#end.length - 3)
    return this.#utf8.decode(bytes, { stream: true })
  }

  push(id: number): string {
    return this.#continue(this.#decode(id))
  }

  flush(): string {
    this.#end = []
    return this.#continue(this.#utf8.decode())
  }

  /** Drops what the preceding text already showed. */
  #continue(text: string): string {
    if (!this.#isContinued || text === '') return text
    this.#isContinued = false
    return text.startsWith('\ufffd') ? text.slice(1) : text
  }
}

/** Number of tokens kept as neighbours of later ones. */
const NEIGHBOURS = 8

/**
 * For tokenizers in which a token's text depends on its neighbours: whether a space precedes it, or which bytes of a
 * character they contribute.
 */
class NeighbourDecoder implements IncrementalDecoder {
  readonly #tokenizer: ModelTokenizer
  /** The last tokens, and the part of their text already returned. */
  #window: number[]
  #known: string
  isHolding = false

  constructor(tokenizer: ModelTokenizer, before: ArrayLike<number>) {
    this.#tokenizer = tokenizer
    this.#window = lastNeighbours(tokenizer, before)
    this.#known = tokenizer.decode(this.#window)
  }

  push(id: number): string {
    // ids without a token are skipped, so a run of bytes continues across them
    if (!this.#tokenizer.isNamed(id)) return ''
    this.#window.push(id)
    this.isHolding = this.#tokenizer.isByteToken(id)
    if (this.isHolding) return ''
    const text = this.#tokenizer.decode(this.#window)
    // it may be the beginning of a character
    this.isHolding = text.endsWith('\ufffd')
    const news = this.#learn(this.isHolding ? text.slice(0, -1) : text)
    if (this.#window.length >= 2 * NEIGHBOURS) this.#forget(text)
    return news
  }

  flush(): string {
    this.isHolding = false
    return this.#learn(this.#tokenizer.decode(this.#window))
  }

  /** @returns the new part of the window's text */
  #learn(text: string): string {
    const known = this.#known
    if (text.startsWith(known)) {
      this.#known = text
      return text.slice(known.length)
    }
    // the earlier text ended in part of a character; anything else already returned cannot be taken back
    const from = known.endsWith('\ufffd') ? commonLength(known, text) : known.length
    if (text.length <= from) return ''
    this.#known = text
    return text.slice(from)
  }

  #forget(text: string): void {
    const last = this.#window.slice(-NEIGHBOURS)
    const itsText = this.#tokenizer.decode(last)
    if (itsText !== '') {
      this.#window = last
      this.#known = this.isHolding ? itsText.slice(0, -1) : itsText
    } else {
      // these tokens have no text, so what precedes the next word depends on the tokens before them
      const first = this.#window.slice(0, NEIGHBOURS)
      if (this.#tokenizer.decode(first) === text) this.#window = first
    }
  }
}

/**
 * The last tokens that the tokenizer knows: enough to have some text, and including the whole run of byte tokens at the
 * end.
 */
function lastNeighbours(tokenizer: ModelTokenizer, ids: ArrayLike<number>): number[] {
  const last: number[] = []
  let enough = NEIGHBOURS
  let beforeRun = 0
  for (let i = ids.length - 1; i >= 0; i--) {
    const id = ids[i]!
    if (!tokenizer.isNamed(id)) continue
    last.push(id)
    if (beforeRun > 0 || !tokenizer.isByteToken(id)) beforeRun++
    if (beforeRun < enough) continue
    if (tokenizer.decode([...last].reverse()) !== '') break
    enough *= 2
  }
  return last.reverse()
}

/** Length of the common prefix of two texts. */
function commonLength(a: string, b: string): number {
  let length = 0
  while (length < a.length && length < b.length && a[length] === b[length]) length++
  return length
}
