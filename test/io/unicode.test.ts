import { Tokenizer as Oracle } from 'tokenizers'
import { describe, expect, it } from 'vitest'
import { createTokenizer } from '../../src/io/tokenizer.js'

/*
 * Every code point, held against Hugging Face's library: what is whitespace, punctuation, a digit, a mark, a letter,
 * and what a normalizer makes of it. The library's tables are of several versions of Unicode, the latest 17; an engine
 * with older tables may differ for characters that are newer than it.
 */

/** The planes in use, in texts of 512 code points, each between others that tell what happened to it. */
function texts(between: string): string[] {
  const all: string[] = []
  for (let start = 1; start < 0x33500; start += 512) {
    let text = between
    for (let codePoint = start; codePoint < start + 512; codePoint++) {
      if (codePoint < 0xd800 || codePoint > 0xdfff) text += String.fromCodePoint(codePoint) + between
    }
    all.push(text)
  }
  return all
}

const HAS_UNICODE_17 = /^\p{L}$/u.test('\u{1e6c0}')

/**
 * A token for each byte, so that ids tell the text, and one that two cut marks make, so that they tell where it is cut.
 */
function file(parts: object): string {
  const alphabet: string[] = []
  for (let byte = 0, shifted = 0x100; byte < 0x100; byte++) {
    const isPrintable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad)
    alphabet.push(String.fromCharCode(isPrintable ? byte : shifted++))
  }
  const vocab = new Map(alphabet.map((token, id) => [token, id]))
  const merges: [string, string][] = []
  // what begins or ends next to an 'a' or a ',' joins it, unless there is a cut
  for (const edge of ['a']) {
    for (const byte of alphabet) {
      for (const pair of [[edge, byte] as [string, string], [byte, edge] as [string, string]]) {
        if (vocab.has(pair.join(''))) continue
        vocab.set(pair.join(''), vocab.size)
        merges.push(pair)
      }
    }
  }
  return JSON.stringify({
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: null,
    post_processor: null,
    decoder: null,
    pre_tokenizer: null,
    model: { type: 'BPE', dropout: null, unk_token: null, fuse_unk: false, vocab: Object.fromEntries(vocab), merges },
    ...parts,
  })
}

const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false }
const behind = (preTokenizer: object) => ({ pre_tokenizer: { type: 'Sequence', pretokenizers: [preTokenizer, byteLevel] } })
const split = (Regex: string) => behind({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false })
const bert = { type: 'BertNormalizer', clean_text: false, handle_chinese_chars: false, strip_accents: false, lowercase: false }
const normalized = (normalizer: object) => ({ normalizer, pre_tokenizer: byteLevel })

describe.runIf(HAS_UNICODE_17)('for every code point', () => {
  it.each<[string, object]>([
    ['Whitespace', behind({ type: 'Whitespace' })],
    ['BertPreTokenizer', behind({ type: 'BertPreTokenizer' })],
    ['Digits', behind({ type: 'Digits', individual_digits: true })],
    ['\\w', split('\\w')],
    ['\\s|\\d', split('\\s|\\d')],
    ['\\p{L}', split('\\p{L}')],
    ['\\p{N}|\\p{S}', split('\\p{N}|\\p{S}')],
    ['\\p{P}|\\p{M}', split('\\p{P}|\\p{M}')],
    ['\\p{Lu}|\\p{Cn}|\\p{Han}', split('\\p{Lu}|\\p{Cn}|\\p{Han}')],
    ['(?i:[k-s])', split('(?i:[k-s])')],
    ['NFC', normalized({ type: 'NFC' })],
    ['NFD', normalized({ type: 'NFD' })],
    ['NFKC', normalized({ type: 'NFKC' })],
    ['NFKD', normalized({ type: 'NFKD' })],
    ['Lowercase', normalized({ type: 'Lowercase' })],
    ['StripAccents', normalized({ type: 'StripAccents' })],
    ['Nmt', normalized({ type: 'Nmt' })],
    ['BertNormalizer, cleaning', normalized({ ...bert, clean_text: true })],
    ['BertNormalizer, without accents', normalized({ ...bert, strip_accents: true, handle_chinese_chars: true })],
  ])('%s agrees with the library', async (_, parts) => {
    const json = file(parts)
    const oracle = Oracle.fromString(json)
    const ours = await createTokenizer(json)
    for (const between of ['a']) {
      const all = texts(between)
      const theirs = await oracle.encodeBatch(all, { addSpecialTokens: false })
      for (const [index, text] of all.entries()) {
        const expected = theirs[index]!.getIds()
        const ids = ours.encode(text)
        if (ids.length !== expected.length || ids.some((id, place) => id !== expected[place])) {
          // which of them
          for (const character of text) {
            const alone = (await oracle.encode(between + character + between, null, { addSpecialTokens: false })).getIds()
            expect(ours.encode(between + character + between), `U+${character.codePointAt(0)!.toString(16)}`).toEqual(alone)
          }
          expect(ids, text).toEqual(expected)
        }
      }
    }
  })
})
