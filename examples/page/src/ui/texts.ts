import type { Piece } from '../protocol.js'

/** The text at a token; of a token that is a part of a character, the character. Undefined if it is not at hand. */
export function wholeText(texts: readonly Piece[], index: number): Piece | undefined {
  let first = index
  while (first > 0 && texts[first] === null) first--
  return texts[first]
}

/** The text of tokens in a row; bytes that are no characters are written as any decoder does. */
export function plainText(texts: readonly Piece[]): string {
  return texts.map((text) => (text instanceof Uint8Array ? '\uFFFD'.repeat(Math.max(text.length, 1)) : (text ?? ''))).join('')
}
