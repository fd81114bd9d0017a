/** Makes whole rows of pieces that end anywhere, holding no more than the beginning of one row. */
export class WholeRows {
  readonly #row: Uint8Array
  readonly #take: (first: number, rows: Uint8Array) => void
  #filled = 0
  #rows = 0

  /**
   * @param rowBytes at least 1
   * @param take called with the index of the first of one or more rows, which are valid during the call
   */
  constructor(rowBytes: number, take: (first: number, rows: Uint8Array) => void) {
    this.#row = new Uint8Array(rowBytes)
    this.#take = take
  }

  write(bytes: Uint8Array): void {
    const rowBytes = this.#row.length
    let from = 0
    if (this.#filled > 0) {
      from = Math.min(rowBytes - this.#filled, bytes.length)
      this.#row.set(bytes.subarray(0, from), this.#filled)
      this.#filled += from
      if (this.#filled < rowBytes) return
      this.#filled = 0
      this.#emit(this.#row)
    }
    const end = bytes.length - ((bytes.length - from) % rowBytes)
    if (end > from) this.#emit(bytes.subarray(from, end))
    this.#row.set(bytes.subarray(end))
    this.#filled = bytes.length - end
  }

  #emit(rows: Uint8Array): void {
    this.#take(this.#rows, rows)
    this.#rows += rows.length / this.#row.length
  }
}
