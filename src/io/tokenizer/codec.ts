/** A text on its way to ids. */
export interface Encoding {
  /**
   * Takes the next part of the text, well-formed and cut between characters.
   * @param isEnd whether it is the last
   */
  push(text: string, isEnd: boolean): void
}

/** What turns well-formed text into ids and checked ids into text. */
export interface Codec {
  /** Ids are below this. */
  readonly size: number
  /**
   * @param ids takes the ids as they become certain
   * @param isStream whether the text may come in several parts
   */
  begin(ids: number[], allowSpecial: boolean, isStream: boolean): Encoding
  decode(ids: readonly number[]): string
  /** The bytes that a token adds to the text; undefined where text is more than tokens' bytes in a row. */
  bytesOf(id: number): Uint8Array | undefined
  /** Whether the tokenizer has a token of this id: a model may have more, which are left out of a text. */
  isNamed(id: number): boolean
  /** Whether a token is one byte of a run that is decoded as a whole (`ByteFallback`). */
  isByteToken(id: number): boolean
}
