import { float32Values, type ParameterValues } from '../../device/device.js'
import { dequantizeRows } from './int8.js'

/** Bytes of int8 that are widened at a time. */
const PART_BYTES = 1 << 18

/** Widens int8 rows to float32. They are held until all scales have come, which in most files is next. */
export class Int8Widener {
  readonly #columns: number
  readonly #take: (first: number, values: ParameterValues) => void
  readonly #scales: Float32Array
  #known = 0
  #held: { readonly first: number; readonly rows: Uint8Array }[] = []

  /** @param take given rows as float32 */
  constructor(numRows: number, columns: number, take: (first: number, values: ParameterValues) => void) {
    this.#columns = columns
    this.#take = take
    this.#scales = new Float32Array(numRows)
  }

  addRows(first: number, rows: Uint8Array): void {
    if (this.#known < this.#scales.length) this.#held.push({ first, rows: new Uint8Array(rows) })
    else this.#widen(first, rows)
  }

  /** @param first row of the first of these scales, which come in order */
  addScales(first: number, scales: Float32Array): void {
    this.#scales.set(scales, first)
    this.#known = first + scales.length
    if (this.#known < this.#scales.length) return
    const held = this.#held
    this.#held = []
    for (const { first, rows } of held) this.#widen(first, rows)
  }

  #widen(first: number, rows: Uint8Array): void {
    const columns = this.#columns
    const step = Math.max(1, Math.floor(PART_BYTES / columns))
    const values = new Int8Array(rows.buffer, rows.byteOffset, rows.length)
    for (let row = 0; row * columns < values.length; row += step) {
      const part = values.subarray(row * columns, (row + step) * columns)
      const scales = this.#scales.subarray(first + row, first + row + part.length / columns)
      this.#take(first + row, float32Values(dequantizeRows({ values: part, scales })))
    }
  }
}
