import { describe, RoutedAttentionError } from '../errors.js'

/** A tokenizer.json that holds what the library relies on without looking. */
export interface TokenizerJson {
  /** With the parts that may be left out, and merges as pairs. */
  readonly json: Record<string, unknown>
  /** Ids are below this. */
  readonly size: number
  readonly addedTokens: ReadonlyMap<number, string>
  /** Whether text is the tokens' bytes in a row. */
  readonly isByteLevel: boolean
  /** Whether tokens such as `<0xC3>` are decoded as bytes. */
  readonly hasByteFallback: boolean
}

/** Ids above this would make tables of that size: no vocabulary comes near it. */
const MAX_TOKENS = 2 ** 24

/** @throws RoutedAttentionError `BAD_FILE` */
export function checkTokenizerJson(json: unknown): TokenizerJson {
  if (!isRecord(json)) throw broken(`must hold an object, got ${describe(json)}`)
  const { model, decoder } = json
  if (!isRecord(model)) throw broken(`must have a model, got ${describe(model)}`)
  const vocabulary = vocabularyIds(model.vocab)
  const addedTokens = readAddedTokens(json.added_tokens ?? [])
  const merges = model.type === 'BPE' ? { merges: readMerges(model, vocabulary) } : {}
  let size = 0
  for (const ids of [vocabulary.values(), addedTokens.keys()]) for (const id of ids) size = Math.max(size, id + 1)
  const parts = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null }
  return {
    json: { ...parts, ...json, added_tokens: json.added_tokens ?? [], model: { ...model, ...merges } },
    size,
    addedTokens,
    isByteLevel: isRecord(decoder) && decoder.type === 'ByteLevel' && (model.end_of_word_suffix ?? '') === '',
    hasByteFallback: decodersOf(decoder).includes('ByteFallback'),
  }
}

/** The types of a decoder's parts, however deep they are nested. */
function decodersOf(decoder: unknown): unknown[] {
  const types: unknown[] = []
  for (const parts = [decoder]; parts.length > 0;) {
    const part = parts.pop()
    if (!isRecord(part)) continue
    types.push(part.type)
    if (Array.isArray(part.decoders)) for (const each of part.decoders as unknown[]) parts.push(each)
  }
  return types
}

/** Ids by token; a Unigram vocabulary lists [token, score] in order of id. */
function vocabularyIds(vocab: unknown): Map<string, number> {
  if (!isRecord(vocab) && !Array.isArray(vocab)) throw broken(`must have a model.vocab, got ${describe(vocab)}`)
  const entries = Array.isArray(vocab)
    ? vocab.map((entry: unknown, id) => [Array.isArray(entry) ? (entry[0] as unknown) : entry, id])
    : Object.entries(vocab)
  const ids = new Map<string, number>()
  for (const [token, id] of entries as [unknown, unknown][]) {
    if (typeof token !== 'string') throw broken(`has ${describe(token)} in place of token ${describe(id)}`)
    if (!isTokenId(id)) throw broken(`gives token ${describe(token)} the id ${describe(id)}, not an integer from 0 to ${MAX_TOKENS - 1}`)
    ids.set(token, id)
  }
  return ids
}

function readAddedTokens(added: unknown): Map<number, string> {
  if (!Array.isArray(added)) throw broken(`must have a list of added_tokens, got ${describe(added)}`)
  const tokens = new Map<number, string>()
  for (const token of added as unknown[]) {
    if (!isRecord(token) || typeof token.content !== 'string' || !isTokenId(token.id)) {
      throw broken(`must have an id and a content for each added token, got ${describe(token)}`)
    }
    tokens.set(token.id, token.content)
  }
  return tokens
}

/** A merge is a pair of tokens, in newer files an array and in older ones a string with one space; what it makes is a token too. */
function readMerges(
  { merges, continuing_subword_prefix: prefix }: Record<string, unknown>,
  vocabulary: ReadonlyMap<string, number>,
): string[][] {
  if (!Array.isArray(merges)) throw broken(`must have a list of merges, got ${describe(merges)}`)
  return (merges as unknown[]).map((merge, index) => {
    const pair = (typeof merge === 'string' ? merge.split(' ') : merge) as string[]
    const isPair = Array.isArray(pair) && pair.length === 2 && pair.every((token) => vocabulary.has(token))
    if (!isPair || (!prefix && !vocabulary.has(pair.join('')))) {
      throw broken(`must have two tokens in each merge that make a third; merge ${index} is ${describe(merge)}`)
    }
    return pair
  })
}

function isTokenId(id: unknown): id is number {
  return Number.isInteger(id) && (id as number) >= 0 && (id as number) < MAX_TOKENS
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function broken(why: string): RoutedAttentionError {
  return new RoutedAttentionError('BAD_FILE', `tokenizer.json ${why}`)
}
