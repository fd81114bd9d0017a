import type { Component } from '../component.js'
import type { EncodingContext } from '../stage.js'
import { cannotExpress, type TokenModel, type Vocabulary, withoutIds } from './model.js'

/** Whole words only. */
export class WordLevelModel implements TokenModel {
  private readonly idOf: ReadonlyMap<string, number>
  private readonly unknown: number | undefined

  constructor(component: Component, vocabulary: Vocabulary, excluded: ReadonlySet<number>) {
    this.idOf = withoutIds(vocabulary.idOf, excluded)
    this.unknown = vocabulary.idOf.get(component.string('unk_token', '<unk>'))
  }

  tokenize(word: string, ids: number[]): void {
    const id = this.idOf.get(word) ?? this.unknown
    if (id === undefined) throw cannotExpress(word)
    ids.push(id)
  }
}

/** From the left, the longest token that continues the word; a word with an unknown part is unknown as a whole. */
export class WordPieceModel implements TokenModel {
  private readonly idOf: ReadonlyMap<string, number>
  private readonly unknown: number | undefined
  private readonly prefix: string
  private readonly maxLength: number
  private readonly longest: number
  private readonly name: string

  constructor(component: Component, vocabulary: Vocabulary, excluded: ReadonlySet<number>) {
    this.idOf = withoutIds(vocabulary.idOf, excluded)
    this.unknown = vocabulary.idOf.get(component.string('unk_token', '[UNK]'))
    this.prefix = component.affix('continuing_subword_prefix', '##')
    this.maxLength = component.integer('max_input_chars_per_word', 0, 100)
    let longest = 0
    for (const token of this.idOf.keys()) longest = Math.max(longest, token.length)
    this.longest = longest
    this.name = component.name
  }

  tokenize(word: string, ids: number[], { budget }: EncodingContext): void {
    const found = this.pieces(word, budget)
    if (found !== undefined) for (const id of found) ids.push(id)
    else if (this.unknown === undefined) throw cannotExpress(word)
    else ids.push(this.unknown)
  }

  private pieces(word: string, budget: EncodingContext['budget']): number[] | undefined {
    if (word.length > this.maxLength && Array.from(word).length > this.maxLength) return undefined
    const ids: number[] = []
    for (let start = 0; start < word.length;) {
      const prefix = start > 0 ? this.prefix : ''
      let end = Math.min(word.length, start + this.longest)
      let id: number | undefined
      for (; end > start; end--) {
        // A vocabulary has no token that begins with half a surrogate pair, except malformed ones.
        if (isInsidePair(word, end)) continue
        budget.spend(1 + ((end - start) >> 4), this.name)
        id = this.idOf.get(prefix + word.slice(start, end))
        if (id !== undefined) break
      }
      if (id === undefined) return undefined
      ids.push(id)
      start = end
    }
    return ids
  }
}

function isInsidePair(text: string, at: number): boolean {
  return at < text.length && (text.charCodeAt(at) & 0xfc00) === 0xdc00
}
