import type { ModelTokenizer } from '../../io/tokenizer.js'

/** Turns tokens into text one by one, behind tokens that were there before. */
export interface IncrementalDecoder {
  /** Whether the next tokens may decide on text of those before. */
  readonly isHolding: boolean
  /**
   * Takes the next token.
   * @returns the text that is now certain
   * @throws RoutedAttentionError `BAD_ARGUMENT` for an id beyond the vocabulary
   */
  push(id: number): string
  /** Ends the text: what was held back. */
  flush(): string
}

/**
 * What is decoded goes on from `before`: together with its text, all pieces are `tokenizer.decode` of all ids. That
 * holds where a token's text depends on its neighbours only, and unless `before` ends inside a character: the first
 * piece then holds the whole of it.
 * @param before the tokens before the first, or the last of them
 */
export function createIncrementalDecoder(tokenizer: ModelTokenizer, before: ArrayLike<number>): IncrementalDecoder {
  const hasBytes = tokenizer.size > 0 && tokenizer.tokenBytes(0) !== undefined
  return hasBytes ? new ByteDecoder(tokenizer, before) : new NeighbourDecoder(tokenizer, before)
}

/**
 * Tokens whose bytes may begin a character that the next one ends: none has more than four, and few tokens are without.
 */
const BYTES_BEFORE = 16

/** The text is the tokens' bytes in a row. */
class ByteDecoder implements IncrementalDecoder {
  readonly #tokenizer: ModelTokenizer
  readonly #utf8 = new TextDecoder('utf-8', { ignoreBOM: true })
  /** The last bytes, up to three: enough to tell whether a character is unfinished. */
  #end: number[] = []
  /** Whether the text before ended inside a character, which its decoding shows as U+FFFD. */
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

  /** What the text before has shown already is not shown again. */
  #continue(text: string): string {
    if (!this.#isContinued || text === '') return text
    this.#isContinued = false
    return text.startsWith('\ufffd') ? text.slice(1) : text
  }
}

/** Tokens that stay as the neighbours of those to come. */
const NEIGHBOURS = 8

/**
 * The text of a token depends on its neighbours: whether a space goes before it, or which bytes of a character they
 * hold.
 */
class NeighbourDecoder implements IncrementalDecoder {
  readonly #tokenizer: ModelTokenizer
  /** The last tokens, and how their text begins that is known already. */
  #window: number[]
  #known: string
  isHolding = false

  constructor(tokenizer: ModelTokenizer, before: ArrayLike<number>) {
    this.#tokenizer = tokenizer
    this.#window = lastNeighbours(tokenizer, before)
    this.#known = tokenizer.decode(this.#window)
  }

  push(id: number): string {
    // it is left out of the text: a run of bytes goes on behind it
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

  /** @returns what is new in a text of the window */
  #learn(text: string): string {
    const known = this.#known
    if (text.startsWith(known)) {
      this.#known = text
      return text.slice(known.length)
    }
    // a character of which the text before had only a part; anything else that was shown cannot be taken back
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
      // tokens without a text: what goes before a word is decided by those before them
      const first = this.#window.slice(0, NEIGHBOURS)
      if (this.#tokenizer.decode(first) === text) this.#window = first
    }
  }
}

/**
 * The last tokens that the tokenizer has, so many that they have a text, with the whole of the run of byte tokens at
 * their end.
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

/** How many characters two texts begin with alike. */
function commonLength(a: string, b: string): number {
  let length = 0
  while (length < a.length && length < b.length && a[length] === b[length]) length++
  return length
}
