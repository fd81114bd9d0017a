/** A binary heap of token ids, largest logit first, ties by lowest id: takes the top few without sorting all. */
export class LogitHeap {
  /** The heap, followed by the ids already taken, the first one last. */
  readonly #ids: Uint32Array
  #logits: Float32Array = new Float32Array(0)
  #size = 0

  constructor(readonly length: number) {
    this.#ids = new Uint32Array(length)
  }

  fill(logits: Float32Array): void {
    this.#logits = logits
    this.#size = logits.length
    for (let id = 0; id < this.#size; id++) this.#ids[id] = id
    for (let root = (this.#size >> 1) - 1; root >= 0; root--) this.#sink(root)
  }

  /** The token at the given rank, from 0. */
  largest(rank: number): number {
    const ids = this.#ids
    while (ids.length - this.#size <= rank) {
      const first = ids[0]!
      ids[0] = ids[--this.#size]!
      ids[this.#size] = first
      this.#sink(0)
    }
    return ids[ids.length - 1 - rank]!
  }

  #sink(place: number): void {
    const ids = this.#ids
    const id = ids[place]!
    for (;;) {
      let child = 2 * place + 1
      if (child >= this.#size) break
      if (child + 1 < this.#size && this.#comesBefore(ids[child + 1]!, ids[child]!)) child++
      if (!this.#comesBefore(ids[child]!, id)) break
      ids[place] = ids[child]!
      place = child
    }
    ids[place] = id
  }

  #comesBefore(a: number, b: number): boolean {
    const first = this.#logits[a]!
    const second = this.#logits[b]!
    return first > second || (first === second && a < b)
  }
}
