import { describe } from '../../../errors.js'
import { broken, type Component } from '../component.js'
import { byteFallback, cannotExpress, type TokenModel, type Vocabulary, withoutIds } from './model.js'

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

/** A word's symbols as a doubly linked list. */
class Symbols {
  private ids = new Int32Array(64)
  private next = new Int32Array(64)
  private previous = new Int32Array(64)
  private length = 0

  clear(room: number): void {
    this.length = 0
    // buffers that long words needed are not kept
    if (room < 4096 && this.ids.length > 65_536) this.resize(4096)
  }

  add(id: number): void {
    if (this.length === this.ids.length) this.resize(this.length * 2)
    this.ids[this.length] = id
    this.next[this.length] = this.length + 1
    this.previous[this.length] = this.length - 1
    this.length++
  }

  mergeAll(merges: MergeTable): void {
    const { ids, next, previous, length } = this
    const due = new DueMerges()
    const offer = (left: number, right: number): void => {
      const rank = merges.rankOf(ids[left]!, ids[right]!)
      if (rank !== -1) due.add(rank, left)
    }
    for (let place = 0; place + 1 < length; place++) offer(place, place + 1)
    while (due.take()) {
      const { rank, place } = due
      const right = next[place]!
      if (ids[place] === -1 || right >= length) continue
      // The pair may have changed in the meantime.
      const found = merges.rankOf(ids[place]!, ids[right]!)
      if (found === -1 || merges.merged[found] !== merges.merged[rank]) continue
      ids[place] = merges.merged[rank]!
      ids[right] = -1
      const after = next[right]!
      next[place] = after
      if (after < length) previous[after] = place
      if (previous[place]! >= 0) offer(previous[place]!, place)
      if (after < length) offer(place, after)
    }
  }

  write(ids: number[]): void {
    for (let place = 0; place < this.length; place = this.next[place]!) ids.push(this.ids[place]!)
  }

  private resize(length: number): void {
    const resized = (array: Int32Array): Int32Array<ArrayBuffer> => {
      const other = new Int32Array(length)
      other.set(array.subarray(0, Math.min(this.length, length)))
      return other
    }
    this.ids = resized(this.ids)
    this.next = resized(this.next)
    this.previous = resized(this.previous)
  }
}

/** The positions where a merge may apply, from the left once the first has been taken. */
class DuePlaces {
  private places = new Int32Array(8)
  private count = 0
  private isSorted = true
  private done = 0

  add(place: number): void {
    if (this.count === this.places.length) {
      const larger = new Int32Array(2 * this.count)
      larger.set(this.places)
      this.places = larger
    }
    if (this.count > 0 && place < this.places[this.count - 1]!) this.isSorted = false
    this.places[this.count++] = place
  }

  /** @returns -1 if there are no more */
  take(): number {
    if (!this.isSorted) {
      this.places.subarray(this.done, this.count).sort()
      this.isSorted = true
    }
    return this.done === this.count ? -1 : this.places[this.done++]!
  }
}

/**
 * Merges that may apply: lowest rank first, and for one rank from the left. The result of a merge is longer than its
 * parts, so it never enables another merge of the same rank: all positions of a rank are known when the first of them
 * is taken, and are sorted then.
 */
class DueMerges {
  /** The rank taken last. */
  rank = 0
  place = 0
  /** A binary heap. */
  private readonly ranks: number[] = []
  private readonly due = new Map<number, DuePlaces>()
  private current: DuePlaces | undefined
  /** The rank added last. */
  private lastRank = -1
  private last: DuePlaces | undefined

  add(rank: number, place: number): void {
    // Runs of one character request the same merge again and again.
    const known = rank === this.lastRank ? this.last : this.due.get(rank)
    this.lastRank = rank
    if (known !== undefined) {
      this.last = known
      known.add(place)
      return
    }
    this.last = new DuePlaces()
    this.last.add(place)
    this.due.set(rank, this.last)
    const { ranks } = this
    let hole = ranks.push(rank) - 1
    while (hole > 0) {
      const parent = (hole - 1) >> 1
      if (ranks[parent]! <= rank) break
      ranks[hole] = ranks[parent]!
      hole = parent
    }
    ranks[hole] = rank
  }

  /** @returns false if no merge is left */
  take(): boolean {
    for (;;) {
      const rank = this.ranks[0]
      if (rank === undefined) return false
      if (this.current === undefined || rank !== this.rank) this.current = this.due.get(rank)!
      this.rank = rank
      this.place = this.current.take()
      if (this.place !== -1) return true
      this.due.delete(rank)
      this.current = undefined
      if (rank === this.lastRank) this.lastRank = -1
      this.pop()
    }
  }

  private pop(): void {
    const { ranks } = this
    const last = ranks.pop()
    if (last === undefined || ranks.length === 0) return
    let hole = 0
    for (;;) {
      let child = 2 * hole + 1
      if (child >= ranks.length) break
      if (child + 1 < ranks.length && ranks[child + 1]! < ranks[child]!) child++
      if (ranks[child]! >= last) break
      ranks[hole] = ranks[child]!
      hole = child
    }
    ranks[hole] = last
  }
}

/** Ranks of pairs of ids, in a hash table with open addressing. */
class MergeTable {
  /** The resulting id, by rank. */
  readonly merged: Int32Array
  private readonly left: Int32Array
  private readonly right: Int32Array
  private readonly ranks: Int32Array
  private readonly mask: number

  constructor(count: number) {
    this.merged = new Int32Array(count)
    const size = 2 ** Math.ceil(Math.log2(Math.max(2 * count, 16)))
    this.mask = size - 1
    this.left = new Int32Array(size).fill(-1)
    this.right = new Int32Array(size)
    this.ranks = new Int32Array(size)
  }

  /** If a pair is repeated, the last entry wins. */
  set(left: number, right: number, rank: number, merged: number): void {
    const slot = this.slotOf(left, right)
    this.left[slot] = left
    this.right[slot] = right
    this.ranks[slot] = rank
    this.merged[rank] = merged
  }

  /** @returns -1 if it is not a pair */
  rankOf(left: number, right: number): number {
    const slot = this.slotOf(left, right)
    return this.left[slot] === -1 ? -1 : this.ranks[slot]!
  }

  private slotOf(left: number, right: number): number {
    let slot = (Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b)) >>> 0
    slot = (slot ^ (slot >>> 15)) & this.mask
    while (this.left[slot] !== -1 && (this.left[slot] !== left || this.right[slot] !== right)) slot = (slot + 1) & this.mask
    return slot
  }
}

/**
 * A merge is a pair of tokens: an array in newer files, a string with one space in older ones. Its result must be a
 * token too.
 */
function readMerges(component: Component, idOf: ReadonlyMap<string, number>, prefix: string, excluded: ReadonlySet<number>): MergeTable {
  const merges = component.value('merges')
  if (!Array.isArray(merges)) throw component.unfit('merges', 'a list', merges)
  const list = (merges as unknown[]).filter((merge) => !(typeof merge === 'string' && merge.startsWith('#version')))
  const table = new MergeTable(list.length)
  for (const [rank, merge] of list.entries()) {
    const pair = (typeof merge === 'string' ? merge.split(' ') : merge) as string[]
    const isPair = Array.isArray(pair) && pair.length === 2 && pair.every((token) => typeof token === 'string')
    const [left, right] = isPair ? pair.map((token) => idOf.get(token)) : []
    const merged = isPair ? idOf.get(pair[0]! + pair[1]!.slice(prefix.length)) : undefined
    if (left === undefined || right === undefined || merged === undefined)
      throw broken(`must have two tokens in each merge that make a third; merge ${rank} is ${describe(merge)}`)
    if (merged === left || merged === right) throw component.unsupported(`has a merge that makes one of its parts, ${describe(merge)}`)
    if (!excluded.has(merged)) table.set(left, right, rank, merged)
  }
  return table
}
