/**
 * Parts of small files in Hugging Face's format: vocabularies, models and components (`oracle-files.ts`).
 */

export type Json = Record<string, unknown>

const ALPHABET: string[] = []
for (let byte = 0, shifted = 0x100; byte < 0x100; byte++) {
  const isPrintable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad)
  ALPHABET.push(String.fromCharCode(isPrintable ? byte : shifted++))
}
export const BYTE_TOKENS = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`)

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

export const WORDS = ['the', 'that', 'sea', 'ship', 'aa', 'aaaa', '11', "'s", '...', 'ss', 'é', 'ﬁ', '漢字', 'ça', 'word', 'mask']

export const byteLevel = (options: Json = {}): Json => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: true,
  ...options,
})
const bytesOf = (text: string): string => Array.from(Buffer.from(text), (byte) => ALPHABET[byte]).join('')

export function byteBpe(words: readonly string[] = WORDS, options: Json = {}, special: readonly string[] = []): Json {
  const { tokens, merges } = grow([...words, ...words.map((word) => ` ${word}`), '  ', '    ', '\n\n', '\r\n'].map(bytesOf))
  return bpe([...ALPHABET, ...tokens, ...special], merges, options)
}

export const CHARACTERS = Array.from(" \n\t\r▁abcdefghiklmnopqrstuvwxyz'.,!?-0123456789ABST[]<>/漢字éçßſ\u0301カ")

export function textBpe(options: Json = {}, special: readonly string[] = [], more: readonly string[] = []): Json {
  const words = [...WORDS, ...WORDS.map((word) => `▁${word}`), '▁▁', '▁▁▁▁', 'a▁', '  ']
  const { tokens, merges } = grow(words)
  return bpe([...special, ...more, ...CHARACTERS, ...Array.from(words.join('')), ...tokens], merges, options)
}

/** Single characters, so that ids tell where a pre-tokenizer cuts; and whole words. */
export const wordLevel = (more: readonly string[] = []): Json => ({
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
export function cutTeller(more: readonly string[] = []): Json {
  const { tokens, merges } = grow(['aa', 'ab', 'the', '  ', '..', '12', '漢字', '▁a', 'a▁', '\n\n', "'s", 'éa', ' a'])
  return bpe(['[UNK]', ...more, ...CHARACTERS, ...tokens], merges, { unk_token: '[UNK]' })
}

export function wordPiece(options: Json = {}, more: readonly string[] = []): Json {
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

export function unigram(options: Json = {}, more: readonly string[] = []): Json {
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

export const metaspace = (prepend_scheme: string, split: boolean): Json => ({ type: 'Metaspace', replacement: '▁', prepend_scheme, split })
export const split = (Regex: string, behavior = 'Isolated', invert = false): Json => ({
  type: 'Split',
  pattern: { Regex },
  behavior,
  invert,
})
export const sequence = (kind: string, ...parts: Json[]): Json => ({ type: 'Sequence', [kind]: parts })
export const replaceText = (String: string, content: string): Json => ({ type: 'Replace', pattern: { String }, content })
export const replaceMatches = (Regex: string, content: string): Json => ({ type: 'Replace', pattern: { Regex }, content })
export const bert = (options: Json = {}): Json => ({
  type: 'BertNormalizer',
  clean_text: true,
  handle_chinese_chars: true,
  strip_accents: null,
  lowercase: true,
  ...options,
})

export const LLAMA_3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const O200K =
  "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
export const PATTERNS: Record<string, string> = {
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

export const llama2Tokens = ['<unk>', '<s>', '</s>', ...BYTE_TOKENS]
export const llama2Added = ['<unk>', '<s>', '</s>'].map((content, id) => added(id, content))
export const llama2Decoder = sequence(
  'decoders',
  replaceText('▁', ' '),
  { type: 'ByteFallback' },
  { type: 'Fuse' },
  { type: 'Strip', content: ' ', start: 1, stop: 0 },
)
export const metaspaceDecoder = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true }
export const bertDecoder = { type: 'WordPiece', prefix: '##', cleanup: true }

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

export const precompiled = {
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
