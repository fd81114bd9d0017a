/** A text being encoded. */
export interface Encoding {
  /**
   * Adds the next part of the text, well-formed and split between characters.
   * @param isEnd whether it is the last part
   */
  push(text: string, isEnd: boolean): void
}

/** Converts well-formed text to ids, and checked ids to text. */
export interface Codec {
  /** All ids are below this. */
  readonly size: number
  /**
   * @param ids receives the ids as they become final
   * @param isStream whether the text may arrive in several parts
   */
  begin(ids: number[], allowSpecial: boolean, isStream: boolean): Encoding
  decode(ids: readonly number[]): string
  /** The bytes a token adds to the text; undefined if text is more than the concatenation of the tokens' bytes. */
  bytesOf(id: number): Uint8Array | undefined
  /** Whether the tokenizer has a token with this id: a model may have more ids, which decoding skips. */
  isNamed(id: number): boolean
  /** Whether a token is one byte of a run that is decoded as a whole (`ByteFallback`). */
  isByteToken(id: number): boolean
}
