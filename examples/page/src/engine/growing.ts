/** Numbers of a text that grows: a typed array that doubles. */
export class Growing<Values extends Int32Array<ArrayBuffer> | Float32Array<ArrayBuffer>> {
  #values: Values
  #length = 0

  constructor(private readonly create: (length: number) => Values) {
    this.#values = create(1024)
  }

  get length(): number {
    return this.#length
  }

  add(values: ArrayLike<number>): void {
    const length = this.#length + values.length
    if (length > this.#values.length) {
      const larger = this.create(Math.max(length, this.#values.length * 2))
      larger.set(this.#values.subarray(0, this.#length))
      this.#values = larger
    }
    this.#values.set(values, this.#length)
    this.#length = length
  }

  /** A view, valid until the next `add`. */
  view(start = 0, end = this.#length): Values {
    return this.#values.subarray(start, Math.min(end, this.#length)) as Values
  }

  truncate(length: number): void {
    this.#length = Math.min(this.#length, length)
  }
}
