import { Opcode } from '../../../assembly/ir/ops.js'
import { Activation, IntegerDot } from '../../../assembly/ir/values.js'
import { createRandom } from '../../random.js'
import { activationBytes } from '../../program/activation-bytes.js'
import { encodeOp } from '../../program/encode-op.js'
import type { Operand } from '../../program/operand.js'
import { KernelTrial } from './kernel-trial.js'
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
 * Chooses how products of int8 weights are computed on this engine and processor. All ways give the same integers, so
 * the choice affects only speed: without VNNI, two instructions may be faster than one that V8 makes up of five, or
 * relaxed ones slower than `i32x4.dot_i16x8_s`.
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
  const { Int16x2, Int8x4, Int8x2x2 } = IntegerDot
  const without = {
    tile: Int16x2,
    row: Int16x2,
    unavailable: 'this engine’s relaxed integer dot product is not exact, so int8 weights are multiplied without it',
  }
  if (!isRelaxedDotExact(device)) return without
  const fastest = (rows: number, panels: number) => {
    const trial = new IntegerProductTrial(device, rows, DEPTH, panels, 7)
    try {
      return chooseFastest([Int16x2, Int8x4, Int8x2x2], Int8x4, (dot) => trial.run(dot), now).choice
    } finally {
      trial.dispose()
    }
  }
  const choice = { tile: fastest(ROWS, PANELS), row: fastest(1, ROW_PANELS), unavailable: undefined }
  // by now the engine has compiled the kernels a second time
  return isRelaxedDotExact(device) ? choice : without
}

/**
 * Whether all ways give the same. They do not in V8 11.3 (Node 20 with `--experimental-wasm-relaxed-simd`), whose
 * baseline compiler adds the products twice and whose optimizing compiler does not.
 */
export function isRelaxedDotExact(device: WasmDevice): boolean {
  const cases = [1, TEST_ROWS].flatMap((rows) => TEST_DEPTHS.flatMap((depth) => [7, 14].map((bits) => ({ rows, depth, bits }))))
  return cases.every(({ rows, depth, bits }) => {
    const trial = new IntegerProductTrial(device, rows, depth, TEST_PANELS, bits)
    try {
      const exact = trial.run(IntegerDot.Int16x2).outputs()
      return [IntegerDot.Int8x4, IntegerDot.Int8x2x2].every((dot) => {
        const relaxed = trial.run(dot).outputs()
        return exact.every((value, i) => value === relaxed[i])
      })
    } finally {
      trial.dispose()
    }
  })
}

/** A product of random integers, with the quantization of its rows. */
class IntegerProductTrial {
  readonly #device: WasmDevice
  readonly #trial: KernelTrial
  readonly #output: Operand
  readonly #length: number

  constructor(device: WasmDevice, rows: number, depth: number, panels: number, bits: number) {
    this.#device = device
    const columns = 8 * panels
    const inputStride = Math.ceil(depth / 8) * 8
    const stride = activationBytes(bits, depth)
    const { uniform } = createRandom(1)
    const below = (limit: number) => Math.floor(uniform() * limit)
    const steps = Math.ceil(depth / 4)
    const weights = Int32Array.from({ length: columns * steps }, () => below(2 ** 32) | 0).map(withoutMinus128)
    const input = new Float32Array(rows * inputStride)
    for (let row = 0; row < rows; row++) for (let i = 0; i < depth; i++) input[row * inputStride + i] = below(2 ** 20) - 2 ** 19
    // a scale of 1 for each column, then the sums of their weights
    const scales = new Int32Array(new Float32Array(2 * columns).fill(1).buffer)
    scales.set(columnSums(weights, steps, columns), columns)

    const trial = new KernelTrial(device)
    const count = trial.values(Int32Array.of(rows))
    const values = trial.zeros(rows * stride)
    const inputScales = trial.zeros(rows * 4)
    this.#output = trial.zeros(rows * columns * 4)
    this.#length = rows * columns
    this.#trial = trial.compile(
      encodeOp(Opcode.QuantizeRows, {
        rows: count,
        input: trial.values(input),
        output: values,
        scales: inputScales,
        inputStride,
        depth,
        stride,
        bits,
      }),
      encodeOp(Opcode.QuantizedMatmul, {
        rows: count,
        input: values,
        inputScales,
        weights: trial.values(weights),
        weightScales: trial.values(scales),
        output: this.#output,
        inputStride: stride,
        outputStride: columns,
        depth,
        panels,
        activation: Activation.None,
        bits,
      }),
    )
  }

  run(dot: IntegerDot): this {
    const device = this.#device
    const { tileDot, rowDot } = device
    device.tileDot = dot
    device.rowDot = dot
    this.#trial.run()
    device.tileDot = tileDot
    device.rowDot = rowDot
    return this
  }

  outputs(): Float32Array {
    return this.#trial.read(this.#output, this.#length)
  }

  dispose(): void {
    this.#trial.dispose()
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
  return ['5x8 of int16', '6x8 of int8', '6x8 of int8 by pairs'][dot]!
}

/** The name of the single-row int8 kernel. */
export function integerRowName(dot: IntegerDot): string {
  return ['1x32 of int16', '1x32 of int8', '1x32 of int8 by pairs'][dot]!
}
