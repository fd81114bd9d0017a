import type { Piece } from './protocol.js'

/** Tokens of a word on either side that are looked for. */
const REACH = 12

/** A token and the rest of the word in which it stands: “l”, “ives”, “”. */
export interface WholeWord {
  readonly before: string
  readonly text: Piece | undefined
  readonly after: string
  /** Of the word's tokens. */
  readonly start: number
  readonly end: number
}

/** @param textOf the text at a token; undefined where there is none, or none at hand */
export function wholeWord(position: number, textOf: (position: number) => Piece | undefined): WholeWord {
  const text = textOf(position)
  let [before, after, start, end] = ['', '', position, position + 1]
  for (let left: Piece | undefined = text; start > 0 && position - start < REACH; start--) {
    const right = left
    left = textOf(start - 1)
    if (!isJoined(left, right)) break
    before = left + before
  }
  for (let right: Piece | undefined = text; end - position <= REACH; end++) {
    const left = right
    right = textOf(end)
    if (!isJoined(left, right)) break
    after += right as string
  }
  return { before: before.trimStart(), text, after, start, end }
}

/** Whether no word ends between two texts in a row. */
function isJoined(left: Piece | undefined, right: Piece | undefined): left is string {
  if (typeof left !== 'string' || typeof right !== 'string') return false
  // several tokens that share a character each have its text
  if (left === right && /^[^\x00-\x7f]$/u.test(left)) return false
  return /[\p{L}\p{N}]$/u.test(left) && /^[\p{L}\p{N}]/u.test(right)
}
