import { describe, RoutedAttentionError } from '../../../errors.js'
import { broken, type Component, isRecord } from '../component.js'
import type { EncodingContext } from '../stage.js'

/** Turns a pre-token into ids. */
export interface TokenModel {
  /**
   * @param word not empty
   * @param ids receives the ids
   * @throws RoutedAttentionError `BAD_ARGUMENT` for a word that the vocabulary cannot express
   */
  tokenize(word: string, ids: number[], context: EncodingContext): void
}

/** A model's tokens, in both directions. */
export interface Vocabulary {
  readonly idOf: ReadonlyMap<string, number>
  /** By id; if several tokens share an id, the last one. */
  readonly tokenOf: ReadonlyMap<number, string>
  /** Number of tokens as counted by the library, which determines the ids of tokens added after them. */
  readonly count: number
}

/** Maximum id, since tables have this size; no vocabulary comes near it. */
const MAX_TOKENS = 2 ** 24

/** @throws RoutedAttentionError `BAD_FILE` unless `vocab` maps tokens to ids */
export function readVocabulary(component: Component): Vocabulary {
  const vocab = component.value('vocab')
  if (!isRecord(vocab)) throw component.unfit('vocab', 'an object of ids by token', vocab)
  const idOf = new Map<string, number>()
  const tokenOf = new Map<number, string>()
  for (const [token, id] of Object.entries(vocab)) {
    if (!isTokenId(id)) throw broken(`gives token ${describe(token)} the id ${describe(id)}, not an integer from 0 to ${MAX_TOKENS - 1}`)
    idOf.set(token, id)
    tokenOf.set(id, token)
  }
  return { idOf, tokenOf, count: idOf.size }
}

export function isTokenId(id: unknown): id is number {
  return Number.isInteger(id) && (id as number) >= 0 && (id as number) < MAX_TOKENS
}

/** The vocabulary without certain ids, for text in which special tokens are plain text. */
export function withoutIds(idOf: ReadonlyMap<string, number>, excluded: ReadonlySet<number>): ReadonlyMap<string, number> {
  if (excluded.size === 0) return idOf
  return new Map([...idOf].filter(([, id]) => !excluded.has(id)))
}

export function cannotExpress(word: string): RoutedAttentionError {
  return new RoutedAttentionError(
    'BAD_ARGUMENT',
    `the vocabulary has no token for a part of ${describe(word)}, nor one for the unknown`,
  )
}

/** Ids of a text's bytes as <0x00> to <0xFF>; undefined unless the vocabulary contains all of them. */
export function byteFallback(text: string, idOf: ReadonlyMap<string, number>): number[] | undefined {
  const ids: number[] = []
  for (const byte of new TextEncoder().encode(text)) {
    const id = idOf.get(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`)
    if (id === undefined) return undefined
    ids.push(id)
  }
  return ids
}
