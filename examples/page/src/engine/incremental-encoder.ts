import type { Tokenizer } from 'routed-attention'
import type { TokenTexts } from './token-texts.js'

/** Characters before a change that are encoded again: no pre-token of ordinary text is as long. */
const OVERLAP = 200

/** Encodes a text that changes at its end: only the words near the change are encoded again. */
export class IncrementalEncoder {
  #text = ''
  #ids: number[] = []
  /** Where each token ends in the text. */
  #ends: number[] = []

  constructor(
    private readonly tokenizer: Tokenizer,
    private readonly texts: TokenTexts,
  ) {}

  encode(text: string): readonly number[] {
    const kept = this.#tokensBefore(text)
    const from = this.#ends[kept - 1] ?? 0
    const added = this.tokenizer.encode(text.slice(from), { allowSpecial: false })
    let end = from
    const ends = this.texts.ofAll(added).map((part) => (end += part?.length ?? 0))
    // a tokenizer that changes its input (lower case, other spaces) has no such ends: then all is encoded each time
    this.#ids = end === text.length ? [...this.#ids.slice(0, kept), ...added] : this.tokenizer.encode(text, { allowSpecial: false })
    this.#ends = end === text.length ? [...this.#ends.slice(0, kept), ...ends] : []
    this.#text = end === text.length ? text : ''
    return this.#ids
  }

  /** How many of the last call's tokens end before a word, well before the first difference. */
  #tokensBefore(text: string): number {
    let common = 0
    const most = Math.min(text.length, this.#text.length)
    while (common < most && text.charCodeAt(common) === this.#text.charCodeAt(common)) common++
    let kept = this.#ends.length
    while (kept > 0 && (this.#ends[kept - 1]! > common - OVERLAP || !isWordStart(text, this.#ends[kept - 1]!))) kept--
    return kept
  }
}

/** Whether a single space or line feed begins here, after something else: where every common pre-tokenizer splits. */
function isWordStart(text: string, at: number): boolean {
  return /\s/.test(text[at] ?? '') && /\S/.test(text[at - 1] ?? ' ') && /\S/.test(text[at + 1] ?? ' ')
}
