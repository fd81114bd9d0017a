import type { Piece } from '../protocol.js'
import { h } from './dom.js'
import { hex, isControl, lone } from './format.js'

/** A token in the text: the space before a word, which is no part of what is coloured, and the token itself. */
export function tokenElement(text: Piece): [space: string, token: HTMLElement] {
  if (text === null || text instanceof Uint8Array) {
    const shown = text?.length ? hex(text) : '…'
    return ['', h('span', { class: 'lone', attributes: { 'aria-label': lone(text), role: 'img' } }, shown)]
  }
  if (isControl(text)) return tokenElement(new TextEncoder().encode(text))
  const space = /^ +(?=\S)/.exec(text)?.[0] ?? ''
  return [space, h('span', {}, text.slice(space.length))]
}
