import { describe } from '../../../errors.js'
import { broken, type Component } from '../component.js'

/** Ranks of pairs of ids, in a hash table with open addressing. */
export class MergeTable {
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
export function readMerges(component: Component, idOf: ReadonlyMap<string, number>, prefix: string, excluded: ReadonlySet<number>): MergeTable {
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
