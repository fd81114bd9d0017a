import type { Component } from '../component.js'
import { type MergeTable, readMerges } from './merge-table.js'
import { byteFallback, cannotExpress, type TokenModel, type Vocabulary, withoutIds } from './model.js'
import { Symbols } from './symbols.js'

/** Words of at most this length are cached with their ids, up to a maximum number. */
const MAX_REMEMBERED_LENGTH = 64
const MAX_REMEMBERED = 30_000

/** Byte-pair encoding: repeatedly merges the neighbouring pair of lowest rank, until no merge applies. */
export class BytePairModel implements TokenModel {
  private readonly idOf: ReadonlyMap<string, number>
  private readonly merges: MergeTable
  private readonly unknown: number | undefined
  private readonly fusesUnknown: boolean
  private readonly fallsBackToBytes: boolean
  private readonly ignoresMerges: boolean
  private readonly prefix: string
  private readonly suffix: string
  private readonly remembered = new Map<string, readonly number[]>()
  /** Ids of single BMP characters without affixes: -1 for none, 0 if not yet looked up, else id + 1. */
  private readonly characters = new Int32Array(0x10000)
  private symbols = new Symbols()

  /** @throws RoutedAttentionError `BAD_FILE`, `UNSUPPORTED` */
  constructor(component: Component, vocabulary: Vocabulary, excluded: ReadonlySet<number>) {
    if (!component.isNullOrAbsent('dropout') && component.value('dropout') !== 0) {
      if (typeof component.value('dropout') !== 'number') throw component.unfit('dropout', 'a number', component.value('dropout'))
      throw component.unsupported('has dropout, which makes ids a matter of chance')
    }
    this.idOf = withoutIds(vocabulary.idOf, excluded)
    this.prefix = component.affix('continuing_subword_prefix')
    this.suffix = component.affix('end_of_word_suffix')
    this.merges = readMerges(component, vocabulary.idOf, this.prefix, excluded)
    this.fusesUnknown = component.boolean('fuse_unk', false)
    this.fallsBackToBytes = component.boolean('byte_fallback', false)
    this.ignoresMerges = component.boolean('ignore_merges', false)
    if (!component.isNullOrAbsent('unk_token')) {
      const token = component.string('unk_token')
      this.unknown = vocabulary.idOf.get(token)
      if (this.unknown === undefined) throw component.unfit('unk_token', 'a token of the vocabulary', token)
    }
  }

  tokenize(word: string, ids: number[]): void {
    if (word.length > MAX_REMEMBERED_LENGTH) {
      this.merge(word, ids)
      return
    }
    let known = this.remembered.get(word)
    if (known === undefined) {
      const found: number[] = []
      this.merge(word, found)
      if (this.remembered.size >= MAX_REMEMBERED) this.remembered.clear()
      this.remembered.set(word, found)
      known = found
    }
    for (const id of known) ids.push(id)
  }

  private merge(word: string, ids: number[]): void {
    const whole = this.ignoresMerges ? this.idOf.get(word) : undefined
    if (whole !== undefined) {
      ids.push(whole)
      return
    }
    const { symbols } = this
    symbols.clear(word.length)
    let pending: number | undefined
    for (let at = 0; at < word.length;) {
      const codePoint = word.codePointAt(at)!
      const end = at + (codePoint > 0xffff ? 2 : 1)
      const id = this.idOfCharacter(word, codePoint, at, end)
      if (id !== undefined) {
        if (pending !== undefined) symbols.add(pending)
        pending = undefined
        symbols.add(id)
      } else {
        const bytes = this.fallsBackToBytes ? byteFallback(this.affixed(word, at, end), this.idOf) : undefined
        // As in the library, an unknown character before it stays pending.
        if (bytes !== undefined) for (const byte of bytes) symbols.add(byte)
        else if (this.unknown === undefined) throw cannotExpress(word)
        else {
          if (pending !== undefined && !this.fusesUnknown) symbols.add(pending)
          pending = this.unknown
        }
      }
      at = end
    }
    if (pending !== undefined) symbols.add(pending)
    symbols.mergeAll(this.merges)
    symbols.write(ids)
  }

  private idOfCharacter(word: string, codePoint: number, at: number, end: number): number | undefined {
    if (codePoint > 0xffff || this.prefix !== '' || this.suffix !== '') return this.idOf.get(this.affixed(word, at, end))
    let known = this.characters[codePoint]!
    if (known === 0) {
      const id = this.idOf.get(word[at]!)
      this.characters[codePoint] = known = id === undefined ? -1 : id + 1
    }
    return known === -1 ? undefined : known - 1
  }

  private affixed(word: string, at: number, end: number): string {
    return (at > 0 ? this.prefix : '') + word.slice(at, end) + (end === word.length ? this.suffix : '')
  }
}
