import { readFileSync } from 'node:fs'

/**
 * Small files in Hugging Face's format, of every kind of component, for tests that hold encoding against that library.
 */

type Json = Record<string, unknown>

const ALPHABET: string[] = []
for (let byte = 0, shifted = 0x100; byte < 0x100; byte++) {
  const isPrintable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad)
  ALPHABET.push(String.fromCharCode(isPrintable ? byte : shifted++))
}
const BYTE_TOKENS = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`)

function ids(tokens: readonly string[]): Record<string, number> {
  return Object.fromEntries([...new Set(tokens)].map((token, id) => [token, id]))
}

export function file(model: Json, parts: Json = {}): Json {
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    ...parts,
    model,
  }
}

export function added(id: number, content: string, flags: Json = {}): Json {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true, ...flags }
}

export function bpe(tokens: readonly string[], merges: readonly (readonly [string, string])[] = [], options: Json = {}): Json {
  return {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    vocab: ids(tokens),
    merges,
    ...options,
  }
}

/** Merges that make the words, from left to right, and the tokens on the way. */
function grow(words: readonly string[]): { tokens: string[]; merges: [string, string][] } {
  const tokens: string[] = []
  const merges = new Map<string, [string, string]>()
  for (const word of words) {
    const characters = Array.from(word)
    let made = characters[0]!
    for (const character of characters.slice(1)) {
      merges.set(JSON.stringify([made, character]), [made, character])
      made += character
      tokens.push(made)
    }
  }
  return { tokens, merges: [...merges.values()] }
}

const WORDS = ['the', 'that', 'sea', 'ship', 'aa', 'aaaa', '11', "'s", '...', 'ss', 'é', 'ﬁ', '漢字', 'ça', 'word', 'mask']

const byteLevel = (options: Json = {}): Json => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: true,
  ...options,
})
const bytesOf = (text: string): string => Array.from(Buffer.from(text), (byte) => ALPHABET[byte]).join('')

function byteBpe(words: readonly string[] = WORDS, options: Json = {}, special: readonly string[] = []): Json {
  const { tokens, merges } = grow([...words, ...words.map((word) => ` ${word}`), '  ', '    ', '\n\n', '\r\n'].map(bytesOf))
  return bpe([...ALPHABET, ...tokens, ...special], merges, options)
}

const CHARACTERS = Array.from(" \n\t\r▁abcdefghiklmnopqrstuvwxyz'.,!?-0123456789ABST[]<>/漢字éçßſ\u0301カ")

function textBpe(options: Json = {}, special: readonly string[] = [], more: readonly string[] = []): Json {
  const words = [...WORDS, ...WORDS.map((word) => `▁${word}`), '▁▁', '▁▁▁▁', 'a▁', '  ']
  const { tokens, merges } = grow(words)
  return bpe([...special, ...more, ...CHARACTERS, ...Array.from(words.join('')), ...tokens], merges, options)
}

/** Single characters, so that ids tell where a pre-tokenizer cuts; and whole words. */
const wordLevel = (more: readonly string[] = []): Json => ({
  type: 'WordLevel',
  unk_token: '[UNK]',
  vocab: ids([
    '[UNK]',
    ...more,
    ...CHARACTERS,
    ...ALPHABET,
    ...WORDS,
    ...WORDS.map((word) => `▁${word}`),
    'a b',
    '1',
    '٣',
    '½',
    '…',
    '(',
    ')',
  ]),
})

/** Chunks of one to three characters, which tell most ways to cut a text apart. */
function cutTeller(more: readonly string[] = []): Json {
  const { tokens, merges } = grow(['aa', 'ab', 'the', '  ', '..', '12', '漢字', '▁a', 'a▁', '\n\n', "'s", 'éa', ' a'])
  return bpe(['[UNK]', ...more, ...CHARACTERS, ...tokens], merges, { unk_token: '[UNK]' })
}

function wordPiece(options: Json = {}, more: readonly string[] = []): Json {
  const characters = [...new Set([...CHARACTERS, 'e', 'o', 'ß', 'σ', 'ς', 'i'])]
  return {
    type: 'WordPiece',
    unk_token: '[UNK]',
    continuing_subword_prefix: '##',
    max_input_chars_per_word: 20,
    vocab: ids([
      '[UNK]',
      ...more,
      ...characters,
      ...characters.map((character) => `##${character}`),
      ...WORDS,
      'sail',
      '##or',
      '##ing',
      'cafe',
    ]),
    ...options,
  }
}

function unigram(options: Json = {}, more: readonly string[] = []): Json {
  const pieces = ['<unk>', ...more, ...CHARACTERS, ...WORDS, ...WORDS.map((word) => `▁${word}`), '▁▁', 'tha', 'hat', 'xy', 'a▁b', '12', 'é']
  return {
    type: 'Unigram',
    unk_id: 0,
    byte_fallback: false,
    vocab: [...new Set(pieces)].map((piece, id) => [
      piece,
      id === 0 ? 0 : -Math.round(1e4 * (8 - 1.3 * piece.length + Math.sin(id))) / 1e4,
    ]),
    ...options,
  }
}

const metaspace = (prepend_scheme: string, split: boolean): Json => ({ type: 'Metaspace', replacement: '▁', prepend_scheme, split })
const split = (Regex: string, behavior = 'Isolated', invert = false): Json => ({ type: 'Split', pattern: { Regex }, behavior, invert })
const sequence = (kind: string, ...parts: Json[]): Json => ({ type: 'Sequence', [kind]: parts })
const replaceText = (String: string, content: string): Json => ({ type: 'Replace', pattern: { String }, content })
const replaceMatches = (Regex: string, content: string): Json => ({ type: 'Replace', pattern: { Regex }, content })
const bert = (options: Json = {}): Json => ({
  type: 'BertNormalizer',
  clean_text: true,
  handle_chinese_chars: true,
  strip_accents: null,
  lowercase: true,
  ...options,
})

const LLAMA_3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const O200K =
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const PATTERNS: Record<string, string> = {
  'Llama 3': LLAMA_3,
  o200k: O200K,
  CLIP: "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+",
  BLOOM: ' ?[^(\\s|[.,!?…。，、।۔،])]+',
  DeepSeek:
    '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+',
  ideographs: '[一-龥぀-ゟ゠-ヿ]+',
  thousands: '\\d{1,3}(?=(?:\\d{3})*\\b)',
  'not Han': '[\\p{L}&&[^\\p{Han}]]+',
  lazy: 'a.*?a',
  'lazy interval': 'a.{1,3}?[a-z]',
  groups: '(?:ab|a)+|(?:the|that)?\\s',
  'look behind': '(?<=a)[a-z]|(?<!t)h',
  possessive: '\\s++|[a-z]?+a',
  atomic: '(?>a+|b)b?',
  lines: '^.|.$',
  words: '\\b\\w|\\w\\B',
  'any number': 'a*',
  case: "(?i:the|[k-m]+|a'd)",
  classes: '[[:alpha:]&&[^a]]+|[[:punct:]]|\\W\\d',
  escapes: '\\x61|\\x{e9}|\\u6f22|\\t',
}

const llama2Tokens = ['<unk>', '<s>', '</s>', ...BYTE_TOKENS]
const llama2Added = ['<unk>', '<s>', '</s>'].map((content, id) => added(id, content))
const llama2Decoder = sequence(
  'decoders',
  replaceText('▁', ' '),
  { type: 'ByteFallback' },
  { type: 'Fuse' },
  { type: 'Strip', content: ' ', start: 1, stop: 0 },
)
const metaspaceDecoder = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true }
const bertDecoder = { type: 'WordPiece', prefix: '##', cleanup: true }

/**
 * SentencePiece's map of a few characters, which Hugging Face's library compiled from nothing: a double-array trie of
 * one level for each byte.
 */
function characterMap(entries: Record<string, string>): string {
  const units = new Map<number, number>()
  let texts = ''
  let next = 1
  const bytes = Object.entries(entries).map(([from, to]) => {
    const value = Buffer.byteLength(texts)
    texts += `${to}\0`
    return { path: [...Buffer.from(from)], value }
  })
  interface TrieNode {
    children: Map<number, TrieNode>
    value?: number
  }
  const root: TrieNode = { children: new Map() }
  for (const { path, value } of bytes) {
    let node = root
    for (const byte of path) {
      if (!node.children.has(byte)) node.children.set(byte, { children: new Map() })
      node = node.children.get(byte)!
    }
    node.value = value
  }
  // Each node's children lie in a block of 256 of their own: child = block ^ byte, and a leaf's value at block ^ 0.
  const place = (node: TrieNode, at: number, label: number): void => {
    const block = 256 * next++
    units.set(at, (((block ^ at) << 10) >>> 0) | label | (node.value === undefined ? 0 : 256))
    if (node.value !== undefined) units.set(block, (0x8000_0000 | node.value) >>> 0)
    for (const [byte, child] of node.children) place(child, block ^ byte, byte)
  }
  place(root, 0, 0)
  const trie = new Uint32Array(256 * next)
  for (const [at, unit] of units) trie[at] = unit
  const head = Buffer.alloc(4)
  head.writeUInt32LE(trie.byteLength)
  return Buffer.concat([head, Buffer.from(trie.buffer), Buffer.from(texts)]).toString('base64')
}

const precompiled = {
  type: 'Precompiled',
  precompiled_charsmap: characterMap({
    ﬁ: 'fi',
    '\u0085': ' ',
    '\t': ' ',
    'e\u0301': 'é',
    A: 'a',
    '①': '1',
    '\u200b': '',
    '　': ' ',
    '½': '1⁄2',
    'カ\u3099': 'ガ',
  }),
}

/** Files by name: kinds of well-known models, and each component by itself. */
export function tokenizerFiles(): [string, Json][] {
  const files: [string, Json][] = [
    [
      'GPT-2',
      file(byteBpe(WORDS, {}, ['<|endoftext|>']), { pre_tokenizer: byteLevel(), decoder: byteLevel(), post_processor: byteLevel() }),
    ],
    ['GPT-2 with a space before', file(byteBpe(), { pre_tokenizer: byteLevel({ add_prefix_space: true }), decoder: byteLevel() })],
    [
      'Llama 2',
      file(textBpe({ unk_token: '<unk>', fuse_unk: true, byte_fallback: true }, llama2Tokens), {
        added_tokens: llama2Added,
        normalizer: sequence('normalizers', { type: 'Prepend', prepend: '▁' }, replaceText(' ', '▁')),
        decoder: llama2Decoder,
      }),
    ],
    [
      'Llama 2, newer',
      file(textBpe({ unk_token: '<unk>', fuse_unk: true, byte_fallback: true }, llama2Tokens), {
        added_tokens: llama2Added,
        pre_tokenizer: metaspace('first', false),
        decoder: llama2Decoder,
      }),
    ],
    [
      'Llama 3',
      file(byteBpe(WORDS, { ignore_merges: true }), {
        added_tokens: [added(ids0(byteBpe()), '<|begin_of_text|>'), added(ids0(byteBpe()) + 1, '<|eot_id|>')],
        pre_tokenizer: sequence('pretokenizers', split(LLAMA_3), byteLevel({ use_regex: false })),
        decoder: byteLevel(),
      }),
    ],
    [
      'Gemma',
      file(textBpe({ unk_token: '<unk>', fuse_unk: true, byte_fallback: true }, llama2Tokens), {
        added_tokens: [...llama2Added, added(ids0(textBpe({}, llama2Tokens)), '\n\n\n', { special: false })],
        normalizer: replaceText(' ', '▁'),
        pre_tokenizer: { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithPrevious', invert: false },
        decoder: sequence('decoders', replaceText('▁', ' '), { type: 'ByteFallback' }, { type: 'Fuse' }),
      }),
    ],
    [
      'T5',
      file(unigram({}, ['<pad>', '</s>']), {
        added_tokens: [added(0, '<unk>'), added(1, '<pad>'), added(2, '</s>')],
        normalizer: precompiled,
        pre_tokenizer: sequence('pretokenizers', { type: 'WhitespaceSplit' }, metaspace('always', true)),
        decoder: metaspaceDecoder,
      }),
    ],
    [
      'ALBERT',
      file(unigram({}, ['[CLS]', '[MASK]']), {
        added_tokens: [added(0, '<unk>'), added(1, '[CLS]'), added(2, '[MASK]', { lstrip: true })],
        normalizer: sequence(
          'normalizers',
          replaceText('``', '"'),
          replaceText("''", '"'),
          { type: 'NFKD' },
          { type: 'StripAccents' },
          { type: 'Lowercase' },
          precompiled,
          replaceMatches(' {2,}', ' '),
        ),
        pre_tokenizer: metaspace('always', true),
        decoder: metaspaceDecoder,
      }),
    ],
    [
      'Unigram with bytes',
      file(unigram({ byte_fallback: true }, BYTE_TOKENS), {
        pre_tokenizer: metaspace('first', true),
        decoder: sequence('decoders', { type: 'ByteFallback' }, metaspaceDecoder),
      }),
    ],
    ['Unigram, nothing before it', file(unigram())],
    [
      'BERT',
      file(wordPiece({}, ['[CLS]', '[SEP]', '[MASK]']), {
        added_tokens: [added(0, '[UNK]'), added(1, '[CLS]'), added(2, '[SEP]'), added(3, '[MASK]')],
        normalizer: bert(),
        pre_tokenizer: { type: 'BertPreTokenizer' },
        decoder: bertDecoder,
      }),
    ],
    [
      'BERT, cased',
      file(wordPiece(), {
        normalizer: bert({ lowercase: false }),
        pre_tokenizer: { type: 'BertPreTokenizer' },
        decoder: { ...bertDecoder, cleanup: false },
      }),
    ],
    [
      'CharBPE',
      file(
        bpe(
          ['<unk>', ...CHARACTERS, ...CHARACTERS.map((c) => `${c}</w>`), 'th', 'the</w>', 'se', 'sea</w>'],
          [
            ['t', 'h'],
            ['th', 'e</w>'],
            ['s', 'e'],
            ['se', 'a</w>'],
          ],
          { unk_token: '<unk>', end_of_word_suffix: '</w>' },
        ),
        {
          normalizer: bert(),
          pre_tokenizer: { type: 'BertPreTokenizer' },
          decoder: { type: 'BPEDecoder', suffix: '</w>' },
        },
      ),
    ],
    [
      'BPE with a prefix',
      file(
        bpe(
          ['<unk>', ...CHARACTERS, ...CHARACTERS.map((c) => `##${c}`), 'th', 'the', '##ea', 'sea'],
          [
            ['t', '##h'],
            ['th', '##e'],
            ['##e', '##a'],
            ['s', '##ea'],
          ],
          { unk_token: '<unk>', continuing_subword_prefix: '##' },
        ),
        {
          pre_tokenizer: { type: 'Whitespace' },
          decoder: bertDecoder,
        },
      ),
    ],
    [
      'BPE, unknown not fused',
      file(textBpe({ unk_token: '<unk>' }, ['<unk>']), { pre_tokenizer: metaspace('always', true), decoder: metaspaceDecoder }),
    ],
    [
      'BPE, unknown fused',
      file(textBpe({ unk_token: '<unk>', fuse_unk: true }, ['<unk>']), {
        pre_tokenizer: metaspace('never', true),
        decoder: { ...metaspaceDecoder, prepend_scheme: 'never' },
      }),
    ],
    [
      'BPE, some bytes',
      file(textBpe({ unk_token: '<unk>', byte_fallback: true }, ['<unk>', '<0xC3>', '<0xA8>', '<0xBC>']), {
        decoder: { type: 'ByteFallback' },
      }),
    ],
    [
      'WordPiece, CTC',
      file(wordPiece(), {
        pre_tokenizer: { type: 'Whitespace' },
        decoder: { type: 'CTC', pad_token: 'a', word_delimiter_token: 's', cleanup: true },
      }),
    ],
    [
      'WordPiece, CTC, not cleaned',
      file(wordPiece(), {
        pre_tokenizer: { type: 'Whitespace' },
        decoder: { type: 'CTC', pad_token: '##', word_delimiter_token: 's', cleanup: false },
      }),
    ],
    ['characters', file(wordLevel(), { pre_tokenizer: { type: 'FixedLength', length: 1 }, decoder: { type: 'Fuse' } })],
    [
      'a byte-level normalizer',
      file(byteBpe(), { normalizer: { type: 'ByteLevel' }, pre_tokenizer: split('Ġ?[a-zA-Z]+'), decoder: byteLevel() }),
    ],
    [
      'padding that pads nothing',
      file(cutTeller(), {
        pre_tokenizer: { type: 'Whitespace' },
        padding: { strategy: 'BatchLongest', direction: 'Right', pad_to_multiple_of: null, pad_id: 0, pad_type_id: 0, pad_token: '[UNK]' },
      }),
    ],
    ['novels-10m', JSON.parse(readFileSync('models/novels-10m/tokenizer.json', 'utf8')) as Json],
  ]
  const normalizers: Record<string, Json> = {
    NFC: { type: 'NFC' },
    NFD: { type: 'NFD' },
    NFKC: { type: 'NFKC' },
    NFKD: { type: 'NFKD' },
    Lowercase: { type: 'Lowercase' },
    Nmt: { type: 'Nmt' },
    StripAccents: sequence('normalizers', { type: 'NFD' }, { type: 'StripAccents' }),
    Strip: { type: 'Strip', strip_left: true, strip_right: true },
    'Strip, left': { type: 'Strip', strip_left: true, strip_right: false },
    'Strip, right': { type: 'Strip', strip_left: false, strip_right: true },
    Prepend: { type: 'Prepend', prepend: 'ab' },
    Precompiled: precompiled,
    'Replace a text': replaceText('aa', 'b$&'),
    'Replace matches': replaceMatches('[a-c]+|\\s{2,}', '-'),
    'Replace with nothing': replaceMatches('^\\s+|a', ''),
    'Bert, cleaned only': bert({ handle_chinese_chars: false, strip_accents: false, lowercase: false }),
    'Bert, ideographs': bert({ clean_text: false, strip_accents: false, lowercase: false }),
    'Bert, accents': bert({ clean_text: false, handle_chinese_chars: false, strip_accents: true, lowercase: false }),
  }
  for (const [name, normalizer] of Object.entries(normalizers)) {
    files.push([`normalizer: ${name}`, file(byteBpe(), { normalizer, pre_tokenizer: byteLevel(), decoder: byteLevel() })])
    files.push([
      `normalizer: ${name}, then Metaspace`,
      file(cutTeller(), { normalizer, pre_tokenizer: metaspace('first', true), decoder: metaspaceDecoder }),
    ])
  }
  const preTokenizers: Record<string, Json> = {
    Whitespace: { type: 'Whitespace' },
    WhitespaceSplit: { type: 'WhitespaceSplit' },
    BertPreTokenizer: { type: 'BertPreTokenizer' },
    'Digits, each': { type: 'Digits', individual_digits: true },
    'Digits, together': { type: 'Digits', individual_digits: false },
    CharDelimiterSplit: { type: 'CharDelimiterSplit', delimiter: 'a' },
    'FixedLength 3': { type: 'FixedLength', length: 3 },
    'Metaspace, always': metaspace('always', true),
    'Metaspace, first': metaspace('first', true),
    'Metaspace, never': metaspace('never', true),
    'Metaspace, whole': metaspace('always', false),
    'digits, then ByteLevel': sequence('pretokenizers', { type: 'Digits', individual_digits: true }, byteLevel()),
    'three Splits': sequence('pretokenizers', split('\\p{N}{1,3}'), split(PATTERNS['ideographs']!), split(PATTERNS['DeepSeek']!)),
    'Whitespace, then Punctuation': sequence('pretokenizers', { type: 'WhitespaceSplit' }, { type: 'Punctuation', behavior: 'Contiguous' }),
  }
  for (const behavior of ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous']) {
    preTokenizers[`Punctuation, ${behavior}`] = { type: 'Punctuation', behavior }
    for (const invert of [false, true]) {
      preTokenizers[`Split, ${behavior}, ${invert}`] = split('a+|\\s', behavior, invert)
      preTokenizers[`Split at what may be empty, ${behavior}, ${invert}`] = split('a*', behavior, invert)
      preTokenizers[`Split at a text, ${behavior}, ${invert}`] = { type: 'Split', pattern: { String: 'a.' }, behavior, invert }
    }
  }
  for (const [name, pattern] of Object.entries(PATTERNS)) preTokenizers[`pattern: ${name}`] = split(pattern)
  for (const [name, preTokenizer] of Object.entries(preTokenizers))
    files.push([`pre-tokenizer: ${name}`, file(cutTeller(), { pre_tokenizer: preTokenizer, decoder: { type: 'Fuse' } })])
  for (const [name, flags] of Object.entries({
    plain: {},
    single_word: { single_word: true },
    lstrip: { lstrip: true },
    rstrip: { rstrip: true },
    both: { lstrip: true, rstrip: true },
    all: { lstrip: true, rstrip: true, single_word: true },
  })) {
    for (const normalized of [false, true]) {
      const model = cutTeller(['<s>', 'mask', '  '])
      const size = ids0(model)
      files.push([
        `added tokens: ${name}, normalized ${normalized}`,
        file(model, {
          normalizer: { type: 'Lowercase' },
          pre_tokenizer: metaspace('first', true),
          added_tokens: [
            added(1, '<s>', flags),
            added(2, 'mask', { ...flags, normalized, special: false }),
            added(3, '  ', { ...flags, special: false }),
            added(size, 'masks', { ...flags, normalized, special: false }),
            added(size + 1, 'É!', { ...flags, normalized, special: false }),
            added(size + 2, '[MASK]', { ...flags, normalized }),
          ],
          decoder: metaspaceDecoder,
        }),
      ])
    }
  }
  return files
}

/** The first id that a vocabulary leaves free. */
function ids0(model: Json): number {
  return Object.keys(model['vocab'] as object).length
}

const FRAGMENTS = [
  ...[
    'the',
    'that',
    'sea',
    'ship',
    'aa',
    'aaaa',
    'a',
    'b',
    'ab',
    'The',
    'MASK',
    'mask',
    'masks',
    'Mask',
    'sailor',
    'xy',
    'd',
    'k',
    'K',
    'ſ',
    "'s",
    "'S",
    "'ſ",
    "'ll",
    "'LL",
    "'D",
  ],
  ...[
    ' ',
    ' ',
    ' ',
    '  ',
    '    ',
    '\n',
    '\n\n',
    '\n\n\n',
    '\r\n',
    '\r',
    '\t',
    '\v',
    '\f',
    '\u0085',
    '\ufeff',
    '\u00a0',
    '\u3000',
    '\u2028',
    '\u1680',
    '\u200b',
    '\u180e',
  ],
  ...[
    '.',
    '...',
    ',',
    '!',
    '?',
    '-',
    '–',
    '…',
    '(',
    ')',
    '«',
    '«',
    '、',
    '።',
    '᙭',
    '⸮',
    '؝',
    '$',
    '+',
    '^',
    '`',
    '``',
    "''",
    '_',
    '‿',
    '€',
    '©',
    '/',
  ],
  ...['1', '12', '123', '1234', '٣', '४', '½', '²', 'Ⅻ', '①', '㊿', '𝟘'],
  ...[
    'é',
    'e\u0301',
    'É',
    'É!',
    'ñ',
    '\u0301',
    '\u0323\u0301',
    '\u0308',
    '\u200d',
    '\u200c',
    'ß',
    'ẞ',
    'ﬁ',
    'İ',
    'ı',
    'Σ',
    'ΑΣ',
    'σ',
    'ǅ',
    'Å',
    'Å',
    'ʼn',
  ],
  ...[
    '漢字',
    '漢',
    '㐀',
    '𠀀',
    'か',
    'カ',
    'ｶ',
    'ﾞ',
    'カ\u3099',
    '가',
    '\u1100\u1161\u11a8',
    'ㅏ',
    'ไทย',
    'हिन्दी',
    'க்ஷ',
    'عربى',
    'עברית',
    '\u0600a',
    '㋿',
    'ꭩ',
  ],
  ...[
    '👩‍👩‍👧',
    '🇩🇪',
    '👍🏽',
    '𝒳',
    '𐏿',
    '\u{10ffff}',
    '\ue000',
    '\0',
    '\x01',
    '\x7f',
    '\u00ad',
    '\ufffd',
    '\ufffe',
    '\ud800',
    '\udc00',
    '\u0898',
    '\u1acf',
    '\u08e2',
    '\u{1e030}',
  ],
  ...[
    '<s>',
    '</s>',
    '<unk>',
    '<pad>',
    '[MASK]',
    '[CLS]',
    '[SEP]',
    '[UNK]',
    '<|endoftext|>',
    '<|eot_id|>',
    '<|begin_of_text|>',
    '▁',
    '▁▁',
    '##',
    '</w>',
    '<0x41>',
    'Ġ',
    'Ã',
    '|',
  ],
]

/** Odd texts, the same for the same seed. */
export function oddTexts(count: number, seed: number): string[] {
  let state = seed
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
  return Array.from({ length: count }, () => {
    let text = ''
    for (let left = 1 + random(12); left > 0; left--) text += FRAGMENTS[random(FRAGMENTS.length)]!
    return text
  })
}
