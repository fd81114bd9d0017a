/** Counts what was decoded, for whoever watches a server: tokens by batches is the mean size of a batch. */
export class DecodeCounts {
  #batches = 0
  #tokens = 0

  /** Dispatches that read one token of each of some sequences. */
  get batches(): number {
    return this.#batches
  }

  /** Tokens read by them. */
  get tokens(): number {
    return this.#tokens
  }

  add(tokens: number): void {
    this.#batches++
    this.#tokens += tokens
  }
}
