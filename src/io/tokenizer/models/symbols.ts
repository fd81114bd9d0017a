import { MergeQueue } from './merge-queue.js'
import type { MergeTable } from './merge-table.js'

/** A word's symbols as a doubly linked list. */
export class Symbols {
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
    const queue = new MergeQueue()
    const offer = (left: number, right: number): void => {
      const rank = merges.rankOf(ids[left]!, ids[right]!)
      if (rank !== -1) queue.add(rank, left)
    }
    for (let position = 0; position + 1 < length; position++) offer(position, position + 1)
    while (queue.take()) {
      const { rank, position } = queue
      const right = next[position]!
      if (ids[position] === -1 || right >= length) continue
      // The pair may have changed in the meantime.
      const found = merges.rankOf(ids[position]!, ids[right]!)
      if (found === -1 || merges.merged[found] !== merges.merged[rank]) continue
      ids[position] = merges.merged[rank]!
      ids[right] = -1
      const after = next[right]!
      next[position] = after
      if (after < length) previous[after] = position
      if (previous[position]! >= 0) offer(previous[position]!, position)
      if (after < length) offer(position, after)
    }
  }

  write(ids: number[]): void {
    for (let position = 0; position < this.length; position = this.next[position]!) ids.push(this.ids[position]!)
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
