import { BufferIndex } from '../../../assembly/ir/header.js'
import { Opcode } from '../../../assembly/ir/ops.js'
import { Activation, IntegerDot } from '../../../assembly/ir/values.js'
import { createRandom } from '../../random.js'
import { activationBytes } from '../../program/activation-bytes.js'
import { encodeOp } from '../../program/encode-op.js'
import { at } from '../../program/operand.js'
import { Dispatch } from '../device.js'
import { chooseFastest } from './time-kernels.js'
import type { WasmDevice } from './wasm-device.js'

/** How products of int8 weights are computed: of several rows, and of one. */
export interface IntegerDotChoice {
  readonly tile: IntegerDot
  readonly row: IntegerDot
  /** Why not with relaxed instructions, where there are any. */
  readonly unavailable: string | undefined
}

/**
 * The products to time: 96 rows or one, depth 256, 24 panels. 96 panels for one row, whose weights come from a second-level
 * cache then.
 */
const ROWS = 96
const DEPTH = 256
const PANELS = 24
const ROW_PANELS = 96
/**
 * To test: tiles of every height, a group that is not full, and depths of several blocks that are no multiples of 4, one
 * of which needs two planes for 14 bits.
 */
const TEST_ROWS = 11
const TEST_DEPTHS = [1030, 2070]
const TEST_PANELS = 7

/** Timed once per module, for all runtimes. */
const choices = new WeakMap<WebAssembly.Module, IntegerDotChoice>()

/**
 * Chooses how products of int8 weights are computed on this engine and processor. Both ways give the same integers, so
 * the choice affects only speed: without VNNI, relaxed instructions may be slower than `i32x4.dot_i16x8_s`.
 * @param isRelaxed whether the build has relaxed instructions. They are admitted if this engine computes with them what
 * it computes without
 * @param now as in `chooseFastest`
 */
export function chooseIntegerDot(
  module: WebAssembly.Module,
  device: WasmDevice,
  isRelaxed: boolean,
  now = () => performance.now(),
): IntegerDotChoice {
  let choice = choices.get(module)
  if (!choice) {
    choice = isRelaxed ? testAndTime(device, now) : { tile: IntegerDot.Int16x2, row: IntegerDot.Int16x2, unavailable: undefined }
    choices.set(module, choice)
  }
  return choice
}

function testAndTime(device: WasmDevice, now: () => number): IntegerDotChoice {
  const { Int16x2, Int8x4 } = IntegerDot
  const without = {
    tile: Int16x2,
    row: Int16x2,
    unavailable: 'this engine’s relaxed integer dot product is not exact, so int8 weights are multiplied without it',
  }
  if (!isRelaxedDotExact(device)) return without
  const fastest = (rows: number, panels: number) => {
    const trial = new Trial(device, rows, DEPTH, panels, 7)
    try {
      return chooseFastest([Int16x2, Int8x4], Int8x4, (dot) => trial.run(dot), now).choice
    } finally {
      trial.dispose()
    }
  }
  const choice = { tile: fastest(ROWS, PANELS), row: fastest(1, ROW_PANELS), unavailable: undefined }
  // by now the engine has compiled the kernels a second time
  return isRelaxedDotExact(device) ? choice : without
}

/**
 * Whether both ways give the same. They do not in V8 11.3 (Node 20 with `--experimental-wasm-relaxed-simd`), whose
 * baseline compiler adds the products twice and whose optimizing compiler does not.
 */
export function isRelaxedDotExact(device: WasmDevice): boolean {
  const cases = [1, TEST_ROWS].flatMap((rows) => TEST_DEPTHS.flatMap((depth) => [7, 14].map((bits) => ({ rows, depth, bits }))))
  return cases.every(({ rows, depth, bits }) => {
    const trial = new Trial(device, rows, depth, TEST_PANELS, bits)
    try {
      const [exact, relaxed] = [IntegerDot.Int16x2, IntegerDot.Int8x4].map((dot) => trial.run(dot).outputs())
      return exact!.every((value, i) => value === relaxed![i])
    } finally {
      trial.dispose()
    }
  })
}

/** A product, with the quantization of its rows. */
class Trial {
  readonly #device: WasmDevice
  readonly #memory
  readonly #program
  readonly #dispatch = new Dispatch()
  readonly #output: number
  readonly #length: number

  constructor(device: WasmDevice, rows: number, depth: number, panels: number, bits: number) {
    this.#device = device
    let end = 0
    const place = (byteLength: number) => {
      const start = end
      end += Math.ceil(byteLength / 64) * 64
      return start
    }
    const columns = 8 * panels
    const inputStride = Math.ceil(depth / 8) * 8
    const stride = activationBytes(bits, depth)
    const [count, input, values, scales] = [place(4), place(rows * inputStride * 4), place(rows * stride), place(rows * 4)]
    const [weights, weightScales] = [place(columns * inputStride), place(columns * 8)]
    this.#output = place(rows * columns * 4)
    this.#length = rows * columns
    this.#memory = device.allocate(end, 'the product that kernels are timed on')
    this.#memory.clear()
    const { uniform } = createRandom(1)
    const below = (limit: number) => Math.floor(uniform() * limit)
    const steps = Math.ceil(depth / 4)
    const random = Int32Array.from({ length: columns * steps }, () => below(2 ** 32) | 0).map(withoutMinus128)
    this.#memory.write(random, weights)
    this.#memory.write(new Float32Array(columns).fill(1), weightScales)
    this.#memory.write(columnSums(random, steps, columns), weightScales + columns * 4)
    for (let row = 0; row < rows; row++)
      this.#memory.write(
        Float32Array.from({ length: depth }, () => below(2 ** 20) - 2 ** 19),
        input + row * inputStride * 4,
      )
    this.#memory.write(Int32Array.of(rows), count)
    const operand = (byteOffset: number) => at(BufferIndex.Scratch, byteOffset)
    const words = [
      ...encodeOp(Opcode.QuantizeRows, {
        rows: operand(count),
        input: operand(input),
        output: operand(values),
        scales: operand(scales),
        inputStride,
        depth,
        stride,
        bits,
      }),
      ...encodeOp(Opcode.QuantizedMatmul, {
        rows: operand(count),
        input: operand(values),
        inputScales: operand(scales),
        weights: operand(weights),
        weightScales: operand(weightScales),
        output: operand(this.#output),
        inputStride: stride,
        outputStride: columns,
        depth,
        panels,
        activation: Activation.None,
        bits,
      }),
      Opcode.End,
    ]
    this.#program = device.compile({ words: Int32Array.from(words) })
    this.#dispatch.bind(BufferIndex.Scratch, this.#memory)
  }

  run(dot: IntegerDot): this {
    const device = this.#device
    const { tileDot, rowDot } = device
    device.tileDot = dot
    device.rowDot = dot
    device.runSync(this.#program, this.#dispatch)
    device.tileDot = tileDot
    device.rowDot = rowDot
    return this
  }

  outputs(): Float32Array {
    return this.#memory.readFloats(this.#output, this.#length)
  }

  dispose(): void {
    this.#program.dispose()
    this.#memory.dispose()
  }
}

/** The sums of the bytes of each column, in groups of up to 32 columns, each [steps][columns] words. */
function columnSums(words: Int32Array, steps: number, columns: number): Int32Array {
  const sums = new Int32Array(columns)
  for (let first = 0, at = 0; first < columns; first += 32) {
    const end = Math.min(first + 32, columns)
    for (let step = 0; step < steps; step++)
      for (let column = first; column < end; column++, at++)
        for (let shift = 0; shift < 32; shift += 8) sums[column]! += (words[at]! << shift) >> 24
  }
  return sums
}

/** Four bytes, of which none is -128: weights never are. */
function withoutMinus128(word: number): number {
  let result = word
  for (let shift = 0; shift < 32; shift += 8) if (((word >> shift) & 0xff) === 0x80) result ^= 1 << shift
  return result
}

/** The name of an int8 kernel in `runtime.info`. */
export function integerTileName(dot: IntegerDot): string {
  return dot === IntegerDot.Int8x4 ? '6x8 of int8' : '5x8 of int16'
}

/** The name of the single-row int8 kernel. */
export function integerRowName(dot: IntegerDot): string {
  return dot === IntegerDot.Int8x4 ? '1x32 of int8' : '1x32 of int16'
}
