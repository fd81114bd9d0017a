import { readFileSync } from 'node:fs'
import {
  type Json,
  BYTE_TOKENS,
  file,
  added,
  bpe,
  WORDS,
  byteLevel,
  byteBpe,
  CHARACTERS,
  textBpe,
  wordLevel,
  cutTeller,
  wordPiece,
  unigram,
  metaspace,
  split,
  sequence,
  replaceText,
  replaceMatches,
  bert,
  LLAMA_3,
  PATTERNS,
  llama2Tokens,
  llama2Added,
  llama2Decoder,
  metaspaceDecoder,
  bertDecoder,
  precompiled,
} from './tokenizer-parts.js'

/*
 * Small files in Hugging Face's format, of every kind of component, for tests that compare encoding with that library.
 */

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
