/*
 * Trains a byte-level BPE tokenizer on texts, and writes it as tokenizer.json in Hugging Face's format. It needs the
 * npm package `tokenizers`.
 *
 *   node training/train-tokenizer.mjs TEXT... --out FOLDER [--size 4096]
 *
 * `<|endoftext|>` is token 0, then come the 256 bytes, then what was merged. At most 30,000 tokens: the library's Node
 * binding trains at that size only. Merges are learnt one after the other, the most frequent pair first, so a smaller
 * vocabulary is the beginning of a larger one.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { BPE, byteLevelAlphabet, byteLevelPreTokenizer, Tokenizer } from 'tokenizers'

const MOST_TOKENS = 30_000
const END_OF_TEXT = '<|endoftext|>'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { out: { type: 'string' }, size: { type: 'string', default: '4096' } },
})
const alphabet = byteLevelAlphabet().sort()
const size = Number(values.size)
const least = alphabet.length + 1
if (positionals.length === 0 || values.out === undefined || !Number.isInteger(size) || size < least || size > MOST_TOKENS) {
  console.error(`usage: node training/train-tokenizer.mjs TEXT... --out FOLDER [--size N], N from ${least} to ${MOST_TOKENS}`)
  process.exit(2)
}

const tokens = [END_OF_TEXT, ...alphabet]
/** @type {[string, string][]} */
const merges = []
for (const [left, right] of learnMerges(positionals)) {
  if (tokens.length === size) break
  tokens.push(left + right)
  merges.push([left, right])
}

const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
const endOfText = { id: 0, content: END_OF_TEXT, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
const tokenizer = {
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: [endOfText],
  normalizer: null,
  pre_tokenizer: byteLevel,
  post_processor: null,
  decoder: byteLevel,
  model: {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    merges,
  },
}
mkdirSync(values.out, { recursive: true })
writeFileSync(join(values.out, 'tokenizer.json'), `${JSON.stringify(tokenizer)}\n`)
console.log(`${tokens.length} tokens in ${join(values.out, 'tokenizer.json')}`)

/** Pairs of tokens in the order in which they are merged. @param {string[]} texts @returns {[string, string][]} */
function learnMerges(texts) {
  const learner = new Tokenizer(BPE.empty())
  learner.setPreTokenizer(byteLevelPreTokenizer(false))
  learner.train(texts)
  const folder = mkdtempSync(join(tmpdir(), 'tokenizer-'))
  try {
    learner.save(join(folder, 'tokenizer.json'))
    return JSON.parse(readFileSync(join(folder, 'tokenizer.json'), 'utf8')).model.merges
  } finally {
    rmSync(folder, { recursive: true })
  }
}
