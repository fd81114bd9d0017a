import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { createTokenizer, type ModelTokenizer } from '../../src/io/tokenizer.js'
import { createTextStream } from '../../src/model/text/text-stream.js'
import { expectThrows } from '../support/errors.js'
import { runs } from '../support/seed.js'

let tokenizer: ModelTokenizer
/** Pieces as a vocabulary would cut them with another split: every byte on its own. */
let bytewise: (text: string) => number[]
beforeAll(async () => {
  tokenizer = await createTokenizer(readFileSync('models/novels-10m/tokenizer.json'))
  const idOfByte = new Map<number, number>()
  for (let id = 0; id < tokenizer.size; id++) {
    const bytes = tokenizer.tokenBytes(id)!
    if (bytes.length === 1) idOfByte.set(bytes[0]!, id)
  }
  bytewise = (text) => [...new TextEncoder().encode(text)].map((byte) => idOfByte.get(byte)!)
})

function stream(ids: readonly number[], stop: string[] = [], by = tokenizer): { pieces: string[]; text: string; isFinished: boolean } {
  const text = createTextStream(by, stop)
  const pieces = ids.map((id) => text.push(id))
  pieces.push(text.flush())
  return { pieces, text: pieces.join(''), isFinished: text.isFinished }
}

describe('streamed text', () => {
  it('comes in whole characters', () => {
    const { pieces } = stream(bytewise('né 👍'))
    expect(pieces).toEqual(['n', '', 'é', ' ', '', '', '', '👍', ''])
  })

  it('adds up to all the text, with U+FFFD for bytes that are no character', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(4095), { maxLength: 40 }), (ids) => {
        expect(stream(ids).text).toBe(tokenizer.decode(ids))
      }),
      runs(500),
    )
    expect(stream(bytewise('👍').slice(0, 3)).pieces).toEqual(['', '', '', '\ufffd'])
    expect(stream(bytewise('\ufeffa')).text).toBe('\ufeffa')
  })

  it('stops before a stop string, which is not part of it', () => {
    const { pieces, isFinished } = stream(bytewise('one STOP two'), ['STOP'])
    expect(pieces.join('')).toBe('one ')
    expect(isFinished).toBe(true)
    expect(pieces.slice(4)).toEqual(pieces.slice(4).map(() => ''))
  })

  it('holds back only what may begin a stop string', () => {
    expect(stream(bytewise('aST STOxy'), ['STOP']).pieces).toEqual(['a', '', '', 'ST ', '', '', '', 'STOx', 'y', ''])
    expect(stream(bytewise('STO'), ['STOP'])).toMatchObject({ text: 'STO', isFinished: false })
    expect(stream(bytewise('aab'), ['ab']).pieces).toEqual(['', 'a', '', ''])
  })

  it('stops at the stop string that is complete first, and at the longest of several', () => {
    expect(stream(bytewise('xabcd'), ['abcd', 'bc']).text).toBe('xa')
    expect(stream(bytewise('xabcd'), ['c', 'abc', 'bc']).text).toBe('x')
  })

  it('finds a stop string of multi-byte characters', () => {
    expect(stream(bytewise('né 👍 x'), [' 👍']).text).toBe('né')
  })

  it('stops at the same place however the tokens split the text', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', 'é', ' ', '👍'), maxLength: 30 })
    const stop = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'é', ' '), minLength: 1, maxLength: 3 }), { maxLength: 3 })
    fc.assert(
      fc.property(text, stop, (text, stop) => {
        const found = stream(bytewise(text), stop)
        expect(stream(tokenizer.encode(text), stop)).toMatchObject({ text: found.text, isFinished: found.isFinished })
        expect(text.startsWith(found.text)).toBe(true)
        for (const string of stop) expect(found.text).not.toContain(string)
        if (!found.isFinished) expect(found.text).toBe(text)
      }),
      runs(500),
    )
  })

  it('rejects stop strings that are not strings', () => {
    for (const bad of [null, 'stop', [''], [5], ['\ud83d'], [null]])
      expectThrows(() => createTextStream(tokenizer, bad as never), 'BAD_ARGUMENT', /stop/)
    expectThrows(() => createTextStream(tokenizer).push(4096), 'BAD_ARGUMENT')
  })
})

describe('streamed text of a vocabulary that is not byte-level', () => {
  const vocab = { '<unk>': 0, '▁the': 1, '▁sea': 2, man: 3, '▁': 4, '<0xC3>': 5, '<0xA9>': 6, '<0xF0>': 7 }
  const json = {
    model: { type: 'BPE', vocab, merges: [], byte_fallback: true, unk_token: '<unk>', fuse_unk: true },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
  }

  it('adds up to all the text', async () => {
    const fallback = await createTokenizer(JSON.stringify(json))
    expect(stream([1, 2, 3, 5, 6, 2], [], fallback).pieces).toEqual(['the', ' sea', 'man', '', '', 'é sea', ''])
    // the next byte may make the whole run none
    expect(stream([1, 5, 6], [], fallback).pieces).toEqual(['the', '', '', 'é'])
    expect(stream([1, 7], [], fallback).text).toBe(fallback.decode([1, 7]))
    fc.assert(
      fc.property(fc.array(fc.constantFrom(1, 2, 3, 4, 56), { maxLength: 20 }), (words) => {
        const ids = words.flatMap((word) => (word === 56 ? [5, 6] : [word]))
        expect(stream(ids, [], fallback).text).toBe(fallback.decode(ids))
      }),
      runs(100),
    )
  })
})
