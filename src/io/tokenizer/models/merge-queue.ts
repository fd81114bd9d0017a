/** The positions where a merge may apply, from the left once the first has been taken. */
class Positions {
  private positions = new Int32Array(8)
  private count = 0
  private isSorted = true
  private done = 0

  add(position: number): void {
    if (this.count === this.positions.length) {
      const larger = new Int32Array(2 * this.count)
      larger.set(this.positions)
      this.positions = larger
    }
    if (this.count > 0 && position < this.positions[this.count - 1]!) this.isSorted = false
    this.positions[this.count++] = position
  }

  /** @returns -1 if there are no more */
  take(): number {
    if (!this.isSorted) {
      this.positions.subarray(this.done, this.count).sort()
      this.isSorted = true
    }
    return this.done === this.count ? -1 : this.positions[this.done++]!
  }
}

/**
 * Merges that may apply: lowest rank first, and for one rank from the left. The result of a merge is longer than its
 * parts, so it never enables another merge of the same rank: all positions of a rank are known when the first of them
 * is taken, and are sorted then.
 */
export class MergeQueue {
  /** The rank taken last. */
  rank = 0
  position = 0
  /** A binary heap. */
  private readonly ranks: number[] = []
  private readonly due = new Map<number, Positions>()
  private current: Positions | undefined
  /** The rank added last. */
  private lastRank = -1
  private last: Positions | undefined

  add(rank: number, position: number): void {
    // Runs of one character request the same merge again and again.
    const known = rank === this.lastRank ? this.last : this.due.get(rank)
    this.lastRank = rank
    if (known !== undefined) {
      this.last = known
      known.add(position)
      return
    }
    this.last = new Positions()
    this.last.add(position)
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
      this.position = this.current.take()
      if (this.position !== -1) return true
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
