import { describe } from '../../../errors.js'
import { broken, type Component } from '../component.js'
import type { EncodingContext } from '../stage.js'
import { byteFallback, cannotExpress, type TokenModel, type Vocabulary } from './model.js'

/** Difference in score between the least likely token and an unknown character. */
const UNKNOWN_PENALTY = 10

/** @throws RoutedAttentionError `BAD_FILE` unless `vocab` lists [token, score] in order of id */
export function readScoredVocabulary(component: Component): Vocabulary & { readonly scores: Float64Array } {
  const vocab = component.value('vocab')
  if (!Array.isArray(vocab)) throw component.unfit('vocab', 'a list of [token, score]', vocab)
  const idOf = new Map<string, number>()
  const tokenOf = new Map<number, string>()
  const scores = new Float64Array(vocab.length)
  for (const [id, entry] of (vocab as unknown[]).entries()) {
    const [token, score] = Array.isArray(entry) && entry.length === 2 ? (entry as [unknown, unknown]) : [undefined, undefined]
    if (typeof token !== 'string' || typeof score !== 'number') throw broken(`has ${describe(entry)} in place of token ${id} and its score`)
    idOf.set(token, id)
    tokenOf.set(id, token)
    scores[id] = score
  }
  return { idOf, tokenOf, count: scores.length, scores }
}

/** Chooses the tokens with the highest total score. */
export class UnigramModel implements TokenModel {
  private readonly idOf: ReadonlyMap<string, number>
  private readonly scores: Float64Array
  private readonly trie: Trie
  private readonly unknown: number | undefined
  private readonly unknownScore: number
  private readonly fallsBackToBytes: boolean
  private readonly name: string

  constructor(component: Component, vocabulary: ReturnType<typeof readScoredVocabulary>, excluded: ReadonlySet<number>) {
    const { idOf, scores } = vocabulary
    this.name = component.name
    this.scores = scores
    this.idOf = idOf
    const kept = [...idOf].filter(([, id]) => !excluded.has(id))
    if (kept.length < idOf.size) this.idOf = new Map(kept)
    this.trie = new Trie(kept)
    if (!component.isNullOrAbsent('unk_id')) {
      this.unknown = component.integer('unk_id', 0, 0)
      if (this.unknown >= scores.length) throw component.unfit('unk_id', 'an id of the vocabulary', this.unknown)
    }
    this.unknownScore = scores.reduce((least, score) => Math.min(least, score), Infinity) - UNKNOWN_PENALTY
    this.fallsBackToBytes = component.boolean('byte_fallback', false)
  }

  tokenize(word: string, ids: number[], context: EncodingContext): void {
    const cuts = this.bestPath(word, context)
    for (let i = 1; i < cuts.length; i++) {
      const part = word.slice(cuts[i - 1], cuts[i])
      const id = this.idOf.get(part)
      if (id !== undefined) {
        ids.push(id)
        continue
      }
      const bytes = this.fallsBackToBytes ? byteFallback(part, this.idOf) : undefined
      if (bytes !== undefined) for (const byte of bytes) ids.push(byte)
      else if (this.unknown === undefined) throw cannotExpress(word)
      else ids.push(this.unknown)
    }
  }

  /** The Viterbi path: the start of each part, and the end; adjacent unknown characters form one part. */
  private bestPath(word: string, { budget }: EncodingContext): Int32Array {
    const length = word.length
    const best = new Float64Array(length + 1)
    const from = new Int32Array(length + 1).fill(-1)
    const isUnknown = new Uint8Array(length + 1)
    const { trie, scores } = this
    let steps = 0
    for (let start = 0; start < length;) {
      const here = best[start]!
      const single = start + (word.codePointAt(start)! > 0xffff ? 2 : 1)
      let hasSingle = false
      let node = 0
      for (let end = start; end < length;) {
        node = trie.child(node, word.charCodeAt(end++))
        if (node === -1) break
        steps++
        const id = trie.ids[node]!
        if (id === -1) continue
        const score = scores[id]! + here
        if (from[end] === -1 || score > best[end]!) {
          best[end] = score
          from[end] = start
          isUnknown[end] = id === this.unknown ? 1 : 0
        }
        if (end === single) hasSingle = true
      }
      if (!hasSingle) {
        const score = this.unknownScore + here
        if (from[single] === -1 || score > best[single]!) {
          if (this.unknown === undefined) throw cannotExpress(word)
          best[single] = score
          from[single] = start
          isUnknown[single] = 1
        }
      }
      start = single
      if (steps > 100_000) {
        budget.spend(steps, this.name)
        steps = 0
      }
    }
    budget.spend(steps, this.name)
    const cuts = new Int32Array(length + 1)
    let at = length
    cuts[at] = length
    for (let end = length; end > 0; end = from[end]!) {
      const start = from[end]!
      if (isUnknown[end] === 0 || isUnknown[start] === 0) cuts[--at] = start
    }
    return cuts.subarray(at)
  }
}

/** Tokens by code units, as a trie in a hash table with open addressing; a vocabulary has a million nodes. */
class Trie {
  /** By node: the id of the token that ends there, or -1. */
  readonly ids: Int32Array
  private readonly parents: Int32Array
  private readonly units: Uint16Array
  private readonly children: Int32Array
  private readonly mask: number

  constructor(tokens: readonly (readonly [string, number])[]) {
    const most = 1 + tokens.reduce((sum, [token]) => sum + token.length, 0)
    // Allocating for the maximum number of nodes would take several times what tokens with common prefixes need.
    const nodes = countNodes(tokens, most)
    const size = 2 ** Math.ceil(Math.log2(Math.max(2 * nodes, 16)))
    this.mask = size - 1
    this.ids = new Int32Array(nodes).fill(-1)
    this.parents = new Int32Array(size).fill(-1)
    this.units = new Uint16Array(size)
    this.children = new Int32Array(size)
    let count = 1
    for (const [token, id] of tokens) {
      let node = 0
      for (let i = 0; i < token.length; i++) {
        const unit = token.charCodeAt(i)
        const slot = this.slotOf(node, unit)
        if (this.parents[slot] === -1) {
          this.parents[slot] = node
          this.units[slot] = unit
          this.children[slot] = count++
        }
        node = this.children[slot]!
      }
      if (token !== '') this.ids[node] = id
    }
  }

  /** @returns -1 if there is none */
  child(node: number, unit: number): number {
    const slot = this.slotOf(node, unit)
    return this.parents[slot] === -1 ? -1 : this.children[slot]!
  }

  private slotOf(node: number, unit: number): number {
    let slot = Math.imul(node, 0x9e3779b1) ^ Math.imul(unit, 0x85ebca6b)
    slot = (slot ^ (slot >>> 15)) & this.mask
    while (this.parents[slot] !== -1 && (this.parents[slot] !== node || this.units[slot] !== unit)) slot = (slot + 1) & this.mask
    return slot
  }
}

/** Number of nodes of a trie: the prefixes that a token does not share with its predecessor in sorted order. */
function countNodes(tokens: readonly (readonly [string, number])[], most: number): number {
  const sorted = tokens.map(([token]) => token).sort()
  let nodes = 1
  let before = ''
  for (const token of sorted) {
    let shared = 0
    while (shared < token.length && token.charCodeAt(shared) === before.charCodeAt(shared)) shared++
    nodes += token.length - shared
    before = token
  }
  return Math.min(nodes, most)
}
