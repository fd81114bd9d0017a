import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { createTokenizer, type ModelTokenizer } from '../../src/io/tokenizer.js'
import { expectRejects, expectThrows } from '../support/errors.js'
import { runs } from '../support/seed.js'

const json = readFileSync('models/novels-10m/tokenizer.json')
const book = readFileSync('models/novels-10m/treasure-island.txt', 'utf8')
let tokenizer: ModelTokenizer
beforeAll(async () => {
  tokenizer = await createTokenizer(json)
})

/** A small byte-level vocabulary, changed as a test wants. */
function smallTokenizer(change: Record<string, unknown> = {}, model: Record<string, unknown> = {}): string {
  const vocab = { a: 0, b: 1, ab: 2, Ġ: 3, Ã: 4, '©': 5 }
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
  return JSON.stringify({
    added_tokens: [],
    pre_tokenizer: byteLevel,
    decoder: byteLevel,
    model: { type: 'BPE', vocab, merges: [['a', 'b']], ...model },
    ...change,
  })
}

describe('the tokenizer of novels-10m', () => {
  it('encodes the book to the number of tokens that it was evaluated with', () => {
    let count = 0
    for (let start = 0; start < book.length; start += 50_000) count += tokenizer.encode(book.slice(start, start + 50_000)).length
    expect(count).toBe(106_987)
  })

  it('decodes the book to itself', () => {
    expect(tokenizer.decode(tokenizer.encode(book))).toBe(book)
  })

  it.each([
    '',
    ' ',
    'a  b',
    'déjà vu',
    '漢字かな交じり文',
    '👩‍👩‍👧 🇩🇪 𝒳',
    '\ufeffmarked',
    '\0\x01\x7f\u0085\u2028',
    '\r\n\t\v\f',
    "it's  don't\n\n  x",
    'a.b , c !',
    '<|endoftext|> x',
  ])('round-trips %j', (text) => {
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text)
  })

  it('round-trips any text, with U+FFFD for lone surrogates', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text)
      }),
      runs(100),
    )
    expect(tokenizer.decode(tokenizer.encode('a\ud800b'))).toBe('a\ufffdb')
  })

  it('reads special tokens written out in a text, and adds none', () => {
    expect(tokenizer.encode('<|endoftext|>')).toEqual([0])
    expect(tokenizer.encode('The end.')).not.toContain(0)
    expect(tokenizer.decode([0])).toBe('<|endoftext|>')
  })

  it('accepts ids in arrays and integer typed arrays', () => {
    const ids = tokenizer.encode('Fifteen men')
    for (const list of [Uint16Array.from(ids), Int32Array.from(ids), new Uint32Array(ids)])
      expect(tokenizer.decode(list)).toBe('Fifteen men')
    expect(tokenizer.decode([])).toBe('')
    expect(tokenizer.size).toBe(4096)
  })

  it('rejects other types for text and ids', () => {
    for (const bad of [null, undefined, 5, ['a'], new Uint8Array(2)]) expectThrows(() => tokenizer.encode(bad as never), 'BAD_ARGUMENT')
    for (const bad of [null, undefined, 5, '5', {}, { length: 1, 0: 1 }, new Float32Array(1), new DataView(new ArrayBuffer(4))])
      expectThrows(() => tokenizer.decode(bad as never), 'BAD_ARGUMENT')
    for (const bad of [4096, -1, 1.5, NaN, '1', null, undefined, 1n])
      expectThrows(() => tokenizer.decode([1, bad as never]), 'BAD_ARGUMENT', /token id/)
    expectThrows(() => tokenizer.decode(new BigInt64Array(1) as never), 'BAD_ARGUMENT')
    expectThrows(() => tokenizer.tokenBytes(4096), 'BAD_ARGUMENT')
  })

  it("gives each token's bytes, which joined are the text's", () => {
    const text = 'naïve 👍🏽 text'
    expect(Buffer.concat(tokenizer.encode(text).map((id) => tokenizer.tokenBytes(id)!)).toString()).toBe(text)
  })
})

describe('a tokenizer.json', () => {
  it('may be bytes, bytes of shared memory, or text', async () => {
    const shared = new Uint8Array(new SharedArrayBuffer(json.length))
    shared.set(json)
    for (const form of [new Uint8Array(json), shared, json.toString()])
      expect((await createTokenizer(form)).encode('Silver')).toEqual(tokenizer.encode('Silver'))
  })

  it('may lack the parts that are often null, and have merges as text', async () => {
    const small = await createTokenizer(JSON.stringify({ model: { vocab: { a: 0, b: 1, ab: 2 }, merges: ['a b'], type: 'BPE' } }))
    expect(small.encode('abba')).toEqual([2, 1, 0])
  })

  it('may name fewer tokens than the model has: those have no text', async () => {
    const small = await createTokenizer(smallTokenizer(), 8)
    expect(small.size).toBe(8)
    expect(small.decode([2, 7, 3, 4, 5])).toBe('ab é')
    expectThrows(() => small.decode([8]), 'BAD_ARGUMENT')
  })

  it('may have added tokens with any characters', async () => {
    const small = await createTokenizer(smallTokenizer({ added_tokens: [{ id: 6, content: '[é x]', special: true }] }))
    expect(small.encode('ab[é x]b')).toEqual([2, 6, 1])
    expect(small.decode([2, 6, 1])).toBe('ab[é x]b')
  })

  it('may be of other kinds than byte-level', async () => {
    const wordPiece = {
      type: 'WordPiece',
      unk_token: '?',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: { '?': 0, sail: 1, '##or': 2, ',': 3 },
    }
    const words = await createTokenizer(
      JSON.stringify({
        model: wordPiece,
        pre_tokenizer: { type: 'BertPreTokenizer' },
        decoder: { type: 'WordPiece', prefix: '##', cleanup: false },
      }),
    )
    expect(words.encode('sailor sail, x')).toEqual([1, 2, 1, 3, 0])
    expect(words.decode([1, 2, 1])).toBe('sailor sail')
    expect(words.tokenBytes(1)).toBeUndefined()
  })

  const hostile: [string, string | Uint8Array][] = [
    ['nothing', ''],
    ['no JSON', '{'],
    ['no UTF-8', new Uint8Array([0xff, 0xfe])],
    ['an array', '[]'],
    ['null', 'null'],
    ['no model', '{}'],
    ['a model that is text', smallTokenizer({ model: 'BPE' })],
    ['a model of an unknown type', smallTokenizer({ model: { type: 'Magic', vocab: 5 } })],
    ['no vocabulary', smallTokenizer({}, { vocab: null })],
    ['ids that are text', smallTokenizer({}, { vocab: { a: '0' } })],
    ['negative ids', smallTokenizer({}, { vocab: { a: -1 } })],
    ['ids beyond any vocabulary', smallTokenizer({}, { vocab: { a: 4e9 } })],
    ['no merges', smallTokenizer({}, { merges: undefined })],
    ['merges that are numbers', smallTokenizer({}, { merges: [1] })],
    ['merges of three', smallTokenizer({}, { merges: [['a', 'b', 'a']] })],
    ['merges of unknown tokens', smallTokenizer({}, { merges: ['a c'] })],
    ['merges that make no token', smallTokenizer({}, { merges: ['b a'] })],
    ['added tokens that are text', smallTokenizer({ added_tokens: 'none' })],
    ['added tokens without content', smallTokenizer({ added_tokens: [{ id: 1 }] })],
    ['added tokens that are null', smallTokenizer({ added_tokens: [null] })],
    ['an unknown pre-tokenizer', smallTokenizer({ pre_tokenizer: { type: 'Magic' } })],
    ['a decoder that is a number', smallTokenizer({ decoder: 5 })],
    [
      'a pattern that is no regular expression',
      smallTokenizer({ pre_tokenizer: { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated', invert: false } }),
    ],
    ['brackets all the way', '['.repeat(1_000_000)],
    [
      'parts nested all the way',
      smallTokenizer({ pre_tokenizer: 0 }).replace(
        '"pre_tokenizer":0',
        `"pre_tokenizer":${'{"type":"Sequence","pretokenizers":['.repeat(100_000)}${']}'.repeat(100_000)}`,
      ),
    ],
  ]
  it.each(hostile)('is rejected when it holds %s', async (_, file) => {
    await expectRejects(createTokenizer(file), 'BAD_FILE', /tokenizer\.json/)
  })

  it('is either rejected or works, whatever part of it is replaced', async () => {
    const parts = JSON.parse(smallTokenizer()) as Record<string, unknown>
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...Object.keys(parts)),
        fc.jsonValue({ maxDepth: 2 }),
        fc.boolean(),
        async (name, value, isInModel) => {
          const changed = isInModel
            ? { ...parts, model: { ...(parts['model'] as object), [name === 'model' ? 'vocab' : name]: value } }
            : { ...parts, [name]: value }
          const made = await createTokenizer(JSON.stringify(changed)).catch((error: unknown) => error)
          if ('encode' in (made as object)) (made as ModelTokenizer).decode((made as ModelTokenizer).encode('abba'))
          else await expectRejects(Promise.reject(made), 'BAD_FILE')
        },
      ),
      runs(300),
    )
  })

  it('must be given as bytes or text', async () => {
    for (const bad of [null, undefined, 5, {}, new ArrayBuffer(4)]) await expectRejects(createTokenizer(bad as never), 'BAD_ARGUMENT')
  })
})
