import { type CharSet, codePointBefore, lazyCharSet } from './char-set.js'
import type { Component } from './component.js'
import { checkHeld, type Stage } from './stage.js'

/** SentencePiece's compiled normalization: a double-array trie (Darts) over UTF-8, and zero-terminated texts. */
class CharacterMap {
  private readonly encoder = new TextEncoder()
  private readonly known = new Map<string, string | undefined>()

  constructor(
    private readonly trie: Uint32Array,
    private readonly texts: Uint8Array,
  ) {}

  /** The replacement for the shortest prefix of a text that the map contains; undefined if there is none. */
  get(text: string): string | undefined {
    if (this.known.has(text)) return this.known.get(text)
    const found = this.find(this.encoder.encode(text))
    if (this.known.size < 65_536) this.known.set(text, found)
    return found
  }

  private find(key: Uint8Array): string | undefined {
    const { trie } = this
    let node = 0
    let unit = trie[0] ?? 0
    node ^= offsetOf(unit)
    for (const byte of key) {
      if (byte === 0) return undefined
      node ^= byte
      if (node >= trie.length) return undefined
      unit = trie[node]!
      if ((unit & 0x8000_00ff) >>> 0 !== byte) return undefined
      node ^= offsetOf(unit)
      if (((unit >>> 8) & 1) === 1) return this.text((trie[node] ?? 0) & 0x7fff_ffff)
    }
    return undefined
  }

  private text(start: number): string | undefined {
    if (start >= this.texts.length) return undefined
    const end = this.texts.indexOf(0, start)
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(this.texts.slice(start, end === -1 ? this.texts.length : end))
  }
}

function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & (1 << 9)) >>> 6)
}

/** Characters such that a grapheme cluster always ends between any two of them. */
const simple: () => CharSet = lazyCharSet(/[\x20-\x7e\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u)

/**
 * SentencePiece's normalization: clusters of up to five bytes are looked up whole, other text character by character.
 * @throws RoutedAttentionError `BAD_FILE`; `UNSUPPORTED` if the engine cannot segment clusters
 */
export function precompiled(component: Component): Stage {
  const map = parseCharacterMap(component)
  if (typeof Intl === 'undefined' || !('Segmenter' in Intl))
    throw component.unsupported('needs Intl.Segmenter, which this engine does not have')
  const segmenter = new Intl.Segmenter('en', { granularity: 'grapheme' })
  return (next, context) => {
    let held = ''
    return {
      push(text, isEnd) {
        held += text
        const certain = isEnd ? held.length : lastBoundary(held)
        checkHeld(held.length - certain, context)
        const changed = change(held.slice(0, certain))
        context.budget.spend(changed.length, component.name)
        held = held.slice(certain)
        next.push(changed, isEnd)
      },
    }
  }

  function change(text: string): string {
    let changed = ''
    let from = 0
    // Runs of characters that are clusters by themselves need no segmenter.
    for (const run of text.matchAll(/[\x20-\x7e]+(?=[\x20-\x7e]|$)/g)) {
      const start = run.index > 0 ? run.index + 1 : 0
      if (start < from || start >= run.index + run[0].length) continue
      changed += clusters(text.slice(from, start))
      from = run.index + run[0].length
      for (const character of text.slice(start, from)) changed += map.get(character) ?? character
    }
    return changed + clusters(text.slice(from))
  }

  function clusters(text: string): string {
    if (text === '') return ''
    let changed = ''
    for (const { segment } of segmenter.segment(text)) {
      const whole = utf8Length(segment) < 6 ? map.get(segment) : undefined
      if (whole !== undefined) changed += whole
      else for (const character of segment) changed += map.get(character) ?? character
    }
    return changed
  }
}

function lastBoundary(text: string): number {
  for (let at = text.length; at > 0;) {
    const after = codePointBefore(text, at)!
    at -= after > 0xffff ? 2 : 1
    const before = codePointBefore(text, at)
    if (before !== undefined && simple().has(after) && simple().has(before)) return at
  }
  return 0
}

function utf8Length(text: string): number {
  let length = 0
  for (let i = 0; i < text.length && length < 6; i++) {
    const unit = text.charCodeAt(i)
    length += unit < 0x80 ? 1 : unit < 0x800 || (unit >= 0xd800 && unit <= 0xdfff) ? 2 : 3
  }
  return length
}

function parseCharacterMap(component: Component): CharacterMap {
  const text = component.string('precompiled_charsmap')
  let bytes: Uint8Array<ArrayBuffer>
  try {
    bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
  } catch {
    throw component.unfit('precompiled_charsmap', 'base64', text)
  }
  const view = new DataView(bytes.buffer)
  const size = bytes.length < 4 ? NaN : view.getUint32(0, true)
  if (!(size % 4 === 0 && size >= 4 && size <= bytes.length - 4)) throw component.unfit('precompiled_charsmap', 'a map of characters', text)
  const trie = new Uint32Array(size / 4)
  for (let i = 0; i < trie.length; i++) trie[i] = view.getUint32(4 + 4 * i, true)
  return new CharacterMap(trie, bytes.subarray(4 + size))
}
