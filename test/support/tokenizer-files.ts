/*
 * tokenizer.json files with small vocabularies, each with the decoder (and what must go with it) of a well-known
 * family.
 */

/** Byte n of text, as GPT-2 writes it in a vocabulary: printable ones as they are, the others from U+0100 on. */
function byteCharacters(): string[] {
  const characters: string[] = []
  let other = 0x100
  for (let byte = 0; byte < 256; byte++) {
    const isPrintable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad)
    characters.push(String.fromCharCode(isPrintable ? byte : other++))
  }
  return characters
}

const numbered = (tokens: readonly string[]) => Object.fromEntries([...new Set(tokens)].map((token, id) => [token, id]))

const byteTokens = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`)

/** Pieces of words as SentencePiece writes them. */
const pieces = [
  '▁',
  '▁▁',
  '▁▁▁',
  '▁the',
  '▁sea',
  's',
  'man',
  '▁ma',
  'n',
  '.',
  ',',
  '▁,',
  '!',
  "▁n't",
  '▁é',
  'é',
  '👍',
  '\ufffd',
  '\n',
  '▁▁a',
]

const sentencePieceDecoder = (strip: boolean) => ({
  type: 'Sequence',
  decoders: [
    { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
    ...(strip ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
  ],
})

const spaced = { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, { type: 'Replace', pattern: { String: ' ' }, content: '▁' }] } // prettier-ignore

function byteLevel(suffix?: string): object {
  const bytes = byteCharacters()
  const words = ['Ġthe', 'Ġsea', 'man', 'Ġ'].map((word) => (suffix === undefined ? word : word.replace('Ġ', '') + suffix))
  const special = { id: 300, content: '<|end|>', single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
  return {
    added_tokens: [special],
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', vocab: numbered([...bytes, ...words]), merges: [], ...(suffix !== undefined && { end_of_word_suffix: suffix }) },
  }
}

const metaspace = (type: 'pre_tokenizer' | 'decoder') => ({ [type]: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true, add_prefix_space: true } }) // prettier-ignore

const unigram = {
  ...metaspace('pre_tokenizer'),
  ...metaspace('decoder'),
  model: { type: 'Unigram', unk_id: 0, vocab: ['<unk>', ...pieces].map((piece, id) => [piece, id === 0 ? 0 : -2 - id / 10]) },
}

/** By the family that decodes so. */
export const tokenizerFiles: Readonly<Record<string, object>> = {
  'Llama 2': {
    normalizer: spaced,
    decoder: sentencePieceDecoder(true),
    model: { type: 'BPE', vocab: numbered(['<unk>', ...byteTokens, ...pieces]), merges: [], byte_fallback: true, unk_token: '<unk>', fuse_unk: true }, // prettier-ignore
  },
  Gemma: {
    normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    decoder: sentencePieceDecoder(false),
    model: { type: 'BPE', vocab: numbered(['<unk>', ...byteTokens, ...pieces]), merges: [], byte_fallback: true, unk_token: '<unk>', fuse_unk: true }, // prettier-ignore
  },
  'Llama 3': byteLevel(),
  'GPT-2': byteLevel(),
  CLIP: byteLevel('</w>'),
  T5: unigram,
  ALBERT: { ...unigram, normalizer: { type: 'Sequence', normalizers: [{ type: 'Lowercase' }] } },
  WordPiece: {
    pre_tokenizer: { type: 'BertPreTokenizer' },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: false },
    model: { type: 'WordPiece', unk_token: '[UNK]', continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab: numbered(['[UNK]', 'the', 'sea', '##man', '##s', '##while', '.', ',', "'", 'é', '##é', '👍']) }, // prettier-ignore
  },
  CharBPE: {
    pre_tokenizer: { type: 'BertPreTokenizer' },
    decoder: { type: 'BPEDecoder', suffix: '</w>' },
    model: { type: 'BPE', vocab: numbered(['the</w>', 'sea</w>', 'sea', 'man</w>', 's</w>', '</w>', '.</w>', 'é', 'é</w>', '👍</w>']), merges: [], end_of_word_suffix: '</w>' }, // prettier-ignore
  },
  'no decoder': {
    pre_tokenizer: { type: 'Whitespace' },
    model: { type: 'WordLevel', unk_token: '[UNK]', vocab: numbered(['[UNK]', 'the', 'sea', 'man', '.', 'é']) },
  },
}
