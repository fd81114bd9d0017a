import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { TokenTexts } from '../../examples/page/src/engine/token-texts.js'
import type { Piece } from '../../examples/page/src/protocol.js'
import { visible } from '../../examples/page/src/ui/format.js'
import { plainText, wholeText } from '../../examples/page/src/ui/texts.js'
import { wholeWord } from '../../examples/page/src/whole-word.js'
import { createByteTokenizer, createTokenizer } from '../../src/io/tokenizer.js'
import { novels2Int8Folder } from '../support/models.js'

const tokenizers = [
  ['bytes', createByteTokenizer(300)],
  ['byte-level BPE', await createTokenizer(readFileSync(new URL('tokenizer.json', novels2Int8Folder)))],
] as const

describe.each(tokenizers)('texts of tokens, %s', (_, tokenizer) => {
  const texts = new TokenTexts(tokenizer)
  const text = 'aé, “日本”: 😀\n𝔸b'

  test('a character of several tokens stands at its first one, however the tokens are cut into batches', () => {
    const ids = tokenizer.encode(text)
    const whole = texts.ofAll(ids)
    expect(whole).toHaveLength(ids.length)
    expect(whole).toContain(null)
    expect(whole.join('')).toBe(text)
    for (let start = 0; start <= ids.length; start++) {
      expect([start, texts.ofAll(ids, start)]).toEqual([start, whole.slice(start)])
      expect([start, texts.ofAll(ids, 0, start)]).toEqual([start, whole.slice(0, start)])
    }
    ids.forEach((_, position) => expect(texts.at(ids, position)).toBe(wholeText(whole, position)))
  })

  test('what arrives token by token becomes the same text, when each batch begins with the last character', () => {
    const ids = tokenizer.encode(text)
    const shown: Piece[] = []
    ids.forEach((_, position) => {
      const read = ids.slice(0, position + 1)
      const from = texts.wholeStart(read, position)
      shown.splice(from, Infinity, ...texts.ofAll(read, from))
    })
    expect(shown).toEqual(texts.ofAll(ids))
  })

  test('bytes that are no character are shown by their values', () => {
    const smile = tokenizer.encode('😀')
    expect(smile.length).toBeGreaterThan(1)
    const cut = [...tokenizer.encode('a'), ...smile.slice(0, -1), ...tokenizer.encode('b')]
    const parts = texts.ofAll(cut)
    const bytes = parts.flatMap((part) => (part instanceof Uint8Array ? [...part] : []))
    expect(bytes).toEqual([0xf0, 0x9f, 0x98, 0x80].slice(0, bytes.length))
    expect(bytes.length).toBeGreaterThan(0)
    for (let id = 0; id < Math.min(tokenizer.size, 2000); id++) expect(visible(texts.of(id))).not.toMatch(/\uFFFD/)
    expect(plainText(parts)).toMatch(/^a\uFFFD+b$/)
  })
})

test('every byte of a byte-level vocabulary has its value', () => {
  for (const [, tokenizer] of tokenizers) {
    const texts = new TokenTexts(tokenizer)
    const single = Array.from({ length: Math.min(tokenizer.size, 300) }, (_, id) => texts.of(id)).filter((text) => typeof text !== 'string')
    const values = new Set(single.flatMap((bytes) => [...bytes]))
    // C0, C1 and F5 to FF are never in UTF-8, so they cannot be told
    expect(values.size).toBe(64 + 30 + 16 + 5)
  }
})

test('tokens without a text, and white space, have names', () => {
  expect(visible(new TokenTexts(createByteTokenizer(300)).of(299))).toBe('(no text)')
  expect(visible(Uint8Array.of(0xc3))).toBe('byte C3')
  expect(visible(Uint8Array.of(0xe2, 0x80))).toBe('bytes E2\u00A080')
  expect(visible(new Uint8Array())).toBe('part of a character')
  expect([' ', '\n', '\t', '\u0001'].map(visible)).toEqual(['(space)', '↵', '⇥', 'byte 01'])
})

test('a token is shown in its word, as far as the word is at hand', () => {
  const texts: (Piece | undefined)[] = ['The', ' l', 'ives', ',', ' o', null, Uint8Array.of(0xc3), 'x', undefined, 'tail']
  const word = (position: number) => {
    const { before, text, after, start, end } = wholeWord(position, (at) => texts[at])
    return [before, text, after, start, end]
  }
  expect(word(0)).toEqual(['', 'The', '', 0, 1])
  expect(word(1)).toEqual(['', ' l', 'ives', 1, 3])
  expect(word(2)).toEqual(['l', 'ives', '', 1, 3])
  expect(word(3)).toEqual(['', ',', '', 3, 4])
  for (const position of [4, 5, 6, 7, 8, 9]) expect(word(position)).toEqual(['', texts[position], '', position, position + 1])
  const letters = [...'an uncommonly longwindedword']
  expect(wholeWord(5, (at) => letters[at])).toMatchObject({ before: 'un', text: 'c', after: 'ommonly' })
  // a character of several tokens is said once
  const shared = ['n', 'é', 'é', 'e']
  expect(wholeWord(2, (at) => shared[at])).toMatchObject({ before: '', text: 'é', after: 'e' })
})
