import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { createByteTokenizer, createTokenizer, type Tokenizer } from '../../src/io/tokenizer.js'
import { expectRejects, expectThrows } from '../support/errors.js'
import { oddTexts } from '../support/odd-texts.js'

let tokenizer: Tokenizer
beforeAll(async () => {
  tokenizer = await createTokenizer(readFileSync('models/novels-10m/tokenizer.json'))
})

async function idsOf(stream: AsyncIterable<Int32Array>): Promise<number[]> {
  const ids: number[] = []
  for await (const part of stream) {
    expect(part).toBeInstanceOf(Int32Array)
    expect(part.length).toBeGreaterThan(0)
    for (const id of part) ids.push(id)
  }
  return ids
}

async function* later<T>(items: Iterable<T>): AsyncGenerator<T> {
  for (const item of items) {
    await Promise.resolve()
    yield item
  }
}

/** A byte-level vocabulary with other components. */
function withParts(parts: object): Promise<Tokenizer> {
  const json = JSON.parse(readFileSync('models/novels-10m/tokenizer.json', 'utf8')) as object
  return createTokenizer(JSON.stringify({ ...json, ...parts }))
}

describe('encodeStream', () => {
  it('gives the ids of the whole text, however it is split', async () => {
    const text = oddTexts(300, 3).join('')
    const expected = tokenizer.encode(text)
    for (const size of [1, 2, 3, 7, 100, text.length]) {
      const chunks = Array.from({ length: Math.ceil(text.length / size) }, (_, i) => text.slice(i * size, (i + 1) * size))
      expect(await idsOf(tokenizer.encodeStream(chunks))).toEqual(expected)
      expect(await idsOf(tokenizer.encodeStream(later(chunks)))).toEqual(expected)
    }
    expect(await idsOf(tokenizer.encodeStream(text))).toEqual(expected)
  })

  it('joins surrogate pairs and special tokens across chunks, and reads a lone surrogate as U+FFFD', async () => {
    expect(await idsOf(tokenizer.encodeStream(['\ud83d', '\udc4d <|endof', 'text|>']))).toEqual(tokenizer.encode('👍 <|endoftext|>'))
    expect(await idsOf(tokenizer.encodeStream(['a\ud83d', 'b', '\ud83d']))).toEqual(tokenizer.encode('a\ufffdb\ufffd'))
    expect(await idsOf(tokenizer.encodeStream(['', '']))).toEqual([])
  })

  it('gives ids before the text has ended, in the memory of a pre-token', async () => {
    let given = 0
    let most = 0
    function* chunks(): Generator<string> {
      for (let i = 0; i < 100; i++) {
        most = Math.max(most, i * 5 - given)
        yield ' the sea and the ship'
      }
    }
    for await (const part of tokenizer.encodeStream(chunks())) given += part.length
    expect(most).toBeLessThan(30)
  })

  it('rejects a pre-token beyond 1 MiB, and takes one just below', async () => {
    const run = 'a'.repeat(2 ** 16)
    expect(await idsOf(tokenizer.encodeStream(Array.from({ length: 15 }, () => run)))).toEqual(tokenizer.encode(run.repeat(15)))
    await expectRejects(idsOf(tokenizer.encodeStream(Array.from({ length: 40 }, () => run))), 'BAD_ARGUMENT', /1048576/)
  })

  it('is rejected at the call if the tokenizer never splits a text', async () => {
    const whole = await withParts({ pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false } })
    expectThrows(() => whole.encodeStream(['a']), 'UNSUPPORTED', /never splits/)
  })

  it('rejects invalid iterables, and chunks that are not text', async () => {
    for (const bad of [null, undefined, 5, {}]) expectThrows(() => tokenizer.encodeStream(bad as never), 'BAD_ARGUMENT', /chunks/)
    for (const bad of [null, 5, new Uint8Array(1)])
      await expectRejects(idsOf(tokenizer.encodeStream(['a', bad as never])), 'BAD_ARGUMENT', /chunk/)
    expectThrows(() => tokenizer.encodeStream([], { allow: true } as never), 'BAD_ARGUMENT', /allow/)
  })

  it('closes its source when its reader stops', async () => {
    let isClosed = false
    function* chunks(): Generator<string> {
      try {
        for (;;) yield 'the sea '
      } finally {
        isClosed = true
      }
    }
    for await (const part of tokenizer.encodeStream(chunks())) if (part.length > 0) break
    expect(isClosed).toBe(true)
  })
})

describe('allowSpecial', () => {
  it('false treats special tokens as plain text', async () => {
    const text = 'The end.<|endoftext|> x'
    const plain = tokenizer.encode(text, { allowSpecial: false })
    expect(plain).not.toContain(0)
    expect(tokenizer.decode(plain)).toBe(text)
    expect(await idsOf(tokenizer.encodeStream(text, { allowSpecial: false }))).toEqual(plain)
    expect(tokenizer.encode(text, { allowSpecial: true })).toContain(0)
    for (const bad of [null, 'no', 0])
      expectThrows(() => tokenizer.encode(text, { allowSpecial: bad } as never), 'BAD_ARGUMENT', /allowSpecial/)
    expectThrows(() => tokenizer.encode(text, { special: false } as never), 'BAD_ARGUMENT', /special/)
  })

  it('false does so even if the vocabulary has the token as a word', async () => {
    const special = { id: 1, content: '</s>', single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
    const pieces = ['<unk>', '</s>', '<', '/', 's', '>', 'a'].map((piece, id) => [piece, -id])
    const unigram = await createTokenizer(JSON.stringify({ added_tokens: [special], model: { type: 'Unigram', unk_id: 0, vocab: pieces } }))
    expect(unigram.encode('a</s>')).toEqual([6, 1])
    expect(unigram.encode('a</s>', { allowSpecial: false })).toEqual([6, 2, 3, 4, 5])
    const words = await createTokenizer(
      JSON.stringify({
        added_tokens: [special],
        pre_tokenizer: { type: 'WhitespaceSplit' },
        model: { type: 'WordLevel', unk_token: '<unk>', vocab: { '<unk>': 0, '</s>': 1 } },
      }),
    )
    expect(words.encode('</s>', { allowSpecial: false })).toEqual([0])
  })
})

describe('a tokenizer of bytes', () => {
  const bytes = createByteTokenizer(260)

  it('gives the bytes of UTF-8, and text for them', async () => {
    const text = '\ufeffé 👍\0'
    const expected = [...new TextEncoder().encode(text)]
    expect(bytes.encode(text)).toEqual(expected)
    expect(bytes.decode(expected)).toBe(text)
    expect(bytes.encode('\ud800')).toEqual([0xef, 0xbf, 0xbd])
    expect(await idsOf(bytes.encodeStream(['\ufeffé \ud83d', '\udc4d', '\0']))).toEqual(expected)
  })

  it('has no text for other ids', () => {
    expect(bytes.decode([0x61, 259, 0x62])).toBe('ab')
    expect(bytes.tokenBytes(0x61)).toEqual(Uint8Array.of(0x61))
    expect(bytes.tokenBytes(259)).toHaveLength(0)
    expectThrows(() => bytes.decode([260]), 'BAD_ARGUMENT')
  })
})

describe('what a file can cost', () => {
  const base = { decoder: null, model: { type: 'BPE', vocab: { a: 0, b: 1, '<unk>': 2 }, merges: [], unk_token: '<unk>' } }
  const replace = (pattern: object, content: string) => ({ type: 'Replace', pattern, content })
  const split = (Regex: string) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false })
  const times = <T>(count: number, item: T): T[] => Array.from({ length: count }, () => item)

  it.each<[string, object, 'BAD_FILE' | 'UNSUPPORTED']>([
    ['pieces of no characters', { pre_tokenizer: { type: 'FixedLength', length: 0 } }, 'BAD_FILE'],
    ['a text that doubles', { normalizer: { type: 'Sequence', normalizers: times(30, replace({ String: 'A' }, 'AA')) } }, 'UNSUPPORTED'],
    [
      'another text that doubles',
      { normalizer: { type: 'Sequence', normalizers: times(30, replace({ String: 'é' }, 'éé')) } },
      'UNSUPPORTED',
    ],
    ['an empty text to replace', { normalizer: replace({ String: '' }, 'a') }, 'BAD_FILE'],
    ['an empty pattern', { pre_tokenizer: split('') }, 'BAD_FILE'],
    ['a repeat of what may be empty', { pre_tokenizer: split('(a*)*b') }, 'UNSUPPORTED'],
    ['intervals of intervals', { pre_tokenizer: split('((((a{9}b){999}){999}){999}){999}') }, 'UNSUPPORTED'],
    ['a backward reference', { pre_tokenizer: split('(a)\\1') }, 'UNSUPPORTED'],
    ['groups without end', { pre_tokenizer: split('('.repeat(10_000)) }, 'UNSUPPORTED'],
    ['an affix without end', { normalizer: { type: 'Prepend', prepend: 'a'.repeat(10_000) } }, 'BAD_FILE'],
    ['chance', { model: { ...base.model, dropout: 0.1 } }, 'UNSUPPORTED'],
    ['texts cut short', { truncation: { max_length: 8, strategy: 'LongestFirst', stride: 0, direction: 'Right' } }, 'UNSUPPORTED'],
    ['scripts', { pre_tokenizer: { type: 'UnicodeScripts' } }, 'UNSUPPORTED'],
    ['a vocabulary of another model', { model: { type: 'Unigram', vocab: { a: 0 } } }, 'BAD_FILE'],
    ['a list for a vocabulary', { model: { ...base.model, vocab: [['a', 0]] } }, 'BAD_FILE'],
    ['an unk_id that is none', { model: { type: 'Unigram', unk_id: 2, vocab: [['a', 0]] } }, 'BAD_FILE'],
  ])('is rejected at load: %s', async (_, parts, code) => {
    await expectRejects(createTokenizer(JSON.stringify({ ...base, ...parts })), code, /tokenizer\.json/)
  })

  it.each(['(a+)+c', '(a|a)+c', 'a+a+a+a+c', '(?=(a+)+c)a', '.*.*.*c'])('ends with a typed error in encode: %s', async (pattern) => {
    const hostile = await createTokenizer(JSON.stringify({ ...base, pre_tokenizer: split(pattern) }))
    expectThrows(() => hostile.encode('a'.repeat(5000)), 'UNSUPPORTED', /steps/)
    expect(hostile.encode('ab')).toEqual([0, 1])
  })

  it('has an id for every part of a text, or says that there is none', async () => {
    const vocab = [['<unk>', 0], ['a', -1], ['ab', -1]] // prettier-ignore
    const none = await createTokenizer(JSON.stringify({ model: { type: 'Unigram', unk_id: null, vocab } }))
    expect(none.encode('aba')).toEqual([2, 1])
    expectThrows(() => none.encode('a?b'), 'BAD_ARGUMENT', /no token/)
    expect(none.encode('ab'.repeat(500_000))).toHaveLength(500_000)
    expectThrows(() => none.encode('a?'.repeat(10)), 'BAD_ARGUMENT')
  })
})
