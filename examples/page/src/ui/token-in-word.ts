import type { Piece } from '../protocol.js'
import { type WholeWord, wholeWord } from '../whole-word.js'
import { h } from './dom.js'
import { count, visible } from './format.js'

/** A token, with the rest of its word beside it in grey. */
export function tokenInWord(position: number, textOf: (position: number) => Piece | undefined): (Node | string)[] {
  const { before, text, after } = wholeWord(position, textOf)
  if (text === undefined) return [`token ${count(position + 1)}`]
  const rest = (letters: string): Node | string => (letters === '' ? '' : h('span', { class: 'rest' }, letters))
  return [rest(before), visible(text), rest(after)]
}

/** The word in which a token stands, to be read out. */
export function spokenWord(position: number, textOf: (position: number) => Piece | undefined): string {
  const { before, text, after }: WholeWord = wholeWord(position, textOf)
  return text === undefined ? `token ${count(position + 1)}` : `${before}${visible(text)}${after}`
}
