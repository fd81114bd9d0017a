import { describe, expect, test } from 'vitest'
import { Opcode } from '../../assembly/ir/ops.js'
import { Activation, IntegerDot } from '../../assembly/ir/values.js'
import type { Runtime } from '../../src/device/runtime.js'
import { isRelaxedDotExact } from '../../src/device/wasm/choose-integer-dot.js'
import type { WasmDevice } from '../../src/device/wasm/wasm-device.js'
import { activationBytes } from '../../src/program/activation-bytes.js'
import { createRandom } from '../../src/random.js'
import { gelu } from '../reference/arithmetic.js'
import { allBuilds, type BuildName, buildOf, openRuntime } from '../support/runtimes.js'
import { expectClose, expectSameBits, gather, normals, range, spread } from './float32.js'
import { misalignments, OpMemory, partitionCounts, runtimeOf } from './op-runner.js'

const { fround } = Math
const BITS = [7, 14] as const
const roundUp = (value: number, multiple: number) => Math.ceil(value / multiple) * multiple

interface IntegerProduct {
  readonly rows: number
  readonly depth: number
  readonly panels: number
  readonly bits: number
  /** rows × depth */
  readonly input: Float32Array
  /** columns × depth, −127 … 127 */
  readonly weights: Int8Array
  /** columns */
  readonly scales: Float32Array
  readonly bias?: Float32Array
  readonly addTo?: Float32Array
  readonly activation?: Activation
  readonly outputStride?: number
  readonly misalignment?: number
  readonly isAtEnd?: boolean
}

const admitted = new Map<Runtime, readonly IntegerDot[]>()

/** The dot products that are exact on this engine: all, except on Node 20; the baseline build has one only. */
function admittedDots(runtime: Runtime): readonly IntegerDot[] {
  let dots = admitted.get(runtime)
  if (!dots) {
    const { Int16x2, Int8x4, Int8x2x2 } = IntegerDot
    // the checked baseline build emulates the relaxed instructions
    const hasBytes = buildOf(runtime) !== 'baseline' && isRelaxedDotExact(runtime.device as WasmDevice)
    dots = hasBytes ? [Int16x2, Int8x4, Int8x2x2] : [Int16x2]
    admitted.set(runtime, dots)
  }
  return dots
}

/** Calls `check` for each way of computing, that of single rows apart from that of several. */
function inEveryDot(runtime: Runtime, check: (name: string) => void): void {
  const kernels = runtime.device as WasmDevice
  const dots = admittedDots(runtime)
  const { tileDot, rowDot } = kernels
  try {
    for (const tile of dots) {
      for (const row of dots) {
        kernels.tileDot = tile
        kernels.rowDot = row
        check(`tiles ${IntegerDot[tile]}, rows ${IntegerDot[row]}`)
      }
    }
  } finally {
    Object.assign(kernels, { tileDot, rowDot })
  }
}

/** Weights as groups of up to four panels, [depth / 4][8 · panels][4]. */
function packPanels(weights: Int8Array, depth: number, columns: number): Int32Array {
  const steps = Math.ceil(depth / 4)
  const packed = new Int8Array(columns * steps * 4)
  let at = 0
  for (let first = 0; first < columns; first += 32) {
    for (let step = 0; step < steps; step++) {
      for (let column = first; column < Math.min(first + 32, columns); column++) {
        for (let k = 4 * step; k < 4 * step + 4; k++, at++) if (k < depth) packed[at] = weights[column * depth + k]!
      }
    }
  }
  return new Int32Array(packed.buffer)
}

/** What accompanies weights: scales, then sums. */
function scalesAndSums({ weights, scales, depth }: IntegerProduct): Float32Array {
  const columns = scales.length
  const both = new Float32Array(2 * columns)
  both.set(scales)
  new Int32Array(both.buffer, 4 * columns).set(
    range(columns).map((column) => sumOf(weights.subarray(column * depth, (column + 1) * depth))),
  )
  return both
}

const sumOf = (values: Int8Array): number => values.reduce((sum, value) => sum + value, 0)

/** The ops' result, rows × 8 · panels. */
function product(runtime: Runtime, options: IntegerProduct): Float32Array {
  const { rows, depth, panels, bits, bias, addTo } = options
  const width = 8 * panels
  const { outputStride = width } = options
  const inputStride = roundUp(depth, 8)
  const stride = activationBytes(bits, depth)
  const quantizing = new OpMemory()
  const values = quantizing.output((rows * stride) / 4)
  const rowScales = quantizing.output(rows)
  quantizing.run(runtime, Opcode.QuantizeRows, {
    rows: quantizing.count(rows),
    input: quantizing.input(withZeros(options.input, depth, inputStride)),
    output: values,
    scales: rowScales,
    inputStride,
    depth,
    stride,
    bits,
  })
  const memory = new OpMemory(options.misalignment)
  const writable = [{ rows, width, stride: outputStride }]
  const output = memory.output(rows * outputStride, writable)
  const target = addTo ? memory.inputOutput(spread(addTo, width, outputStride), writable) : output
  const weights = packPanels(options.weights, depth, width)
  memory.run(runtime, Opcode.QuantizedMatmul, {
    rows: memory.count(rows),
    input: memory.input(quantizing.ints(values)),
    inputScales: memory.input(quantizing.floats(rowScales)),
    weights: options.isAtEnd ? memory.inputAtEnd(weights) : memory.input(weights),
    weightScales: memory.input(scalesAndSums(options)),
    output,
    bias: bias && memory.input(bias),
    addTo: addTo && target,
    inputStride: stride,
    outputStride,
    depth,
    panels,
    activation: options.activation ?? Activation.None,
    bits,
  })
  return gather(memory.floats(target), rows, width, outputStride)
}

/** Rows of `stride`, zero-padded. */
function withZeros(values: Float32Array, width: number, stride: number): Float32Array {
  const rows = width === 0 ? 0 : values.length / width
  const spreadOut = new Float32Array(rows * stride)
  for (let row = 0; row < rows; row++) spreadOut.set(values.subarray(row * width, (row + 1) * width), row * stride)
  return spreadOut
}

function roundToEven(value: number): number {
  const rounded = Math.round(value)
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded
}

/** A row's integers and its scale, as docs/quantization.md says. */
function quantize(row: Float32Array, bits: number): { integers: number[]; scale: number } {
  const levels = bits === 14 ? 8191 : 63
  const largest = row.reduce((most, x) => Math.max(most, Math.abs(x)), 0)
  if (!(largest < Infinity)) return { integers: [...row].map(() => 0), scale: NaN }
  if (largest === 0) return { integers: [...row].map(() => 0), scale: 0 }
  const boost = largest < 2 ** -64 ? 2 ** 64 : 1
  const factor = fround(levels / fround(largest * boost))
  return {
    integers: Array.from(row, (x) => roundToEven(fround(fround(x * boost) * factor))),
    scale: fround(largest / levels),
  }
}

/** The plain twin: integers, summed in float64, which represents every such sum exactly. */
function twinOf({ rows, depth, panels, bits, input, weights, scales }: IntegerProduct): Float32Array {
  const width = 8 * panels
  const out = new Float32Array(rows * width)
  for (let row = 0; row < rows; row++) {
    const { integers, scale } = quantize(input.subarray(row * depth, (row + 1) * depth), bits)
    for (let column = 0; column < width; column++) {
      let sum = 0
      for (let k = 0; k < depth; k++) sum += weights[column * depth + k]! * integers[k]!
      out[row * width + column] = fround(fround(fround(sum) * scales[column]!) * scale)
    }
  }
  return out
}

function caseOf(rows: number, depth: number, panels: number, bits: number, seed = 1): IntegerProduct {
  const { uniform } = createRandom(seed)
  const columns = 8 * panels
  return {
    rows,
    depth,
    panels,
    bits,
    input: normals(rows * depth, seed + 1),
    weights: Int8Array.from({ length: columns * depth }, () => Math.floor(uniform() * 255) - 127),
    scales: Float32Array.from({ length: columns }, () => uniform() + 0.01),
  }
}

test('only V8 11.3 lacks an exact relaxed dot product', () => {
  for (const build of allBuilds) {
    if (build === 'baseline') continue
    const isExact = admittedDots(runtimeOf(build)).length > 1
    if (build === 'checked-baseline') expect(isExact).toBe(true)
    else expect(isExact, process.versions.v8).toBe(!process.versions.v8.startsWith('11.3'))
  }
})

describe.each(allBuilds)('an int8 product on the %s build', (build: BuildName) => {
  const runtime = runtimeOf(build)

  test('is the scaled sum of integers, for any rows, columns, depth and kernels', () => {
    for (const bits of BITS) {
      for (const depth of [1, 4, 7, 36, 255, 256, 770, 1030]) {
        for (const rows of [1, 2, 3, 4, 5, 6, 7, 11, 13]) {
          for (const panels of [1, 2, 3, 4, 5, 9]) {
            const options = caseOf(rows, depth, panels, bits)
            const expected = twinOf(options)
            const name = `${bits} bits: ${rows} rows, depth ${depth}, ${panels} panels`
            inEveryDot(runtime, (dot) => expectSameBits(product(runtime, options), expected, `${name}, ${dot}`))
          }
        }
      }
    }
  })

  test('stays exact at the largest magnitudes, beyond int32', () => {
    for (const bits of BITS) {
      for (const depth of [2048, 2049, 2064, 4100]) {
        for (const rows of [1, 2, 70]) {
          const options = caseOf(rows, depth, 5, bits)
          options.weights.fill(127)
          options.weights.subarray(depth, 2 * depth).fill(-127)
          options.input.fill(1)
          options.input.set([-1, 0.5], depth - 2)
          const expected = twinOf(options)
          inEveryDot(runtime, (dot) => expectSameBits(product(runtime, options), expected, `${bits} bits: ${rows} × ${depth}, ${dot}`))
        }
      }
    }
  })

  test('has the same bits in any number of partitions', () => {
    for (const partitions of partitionCounts) {
      const divided = runtimeOf(build, partitions)
      for (const bits of BITS) {
        for (const [rows, depth, panels] of [
          [1, 36, 9],
          [3, 2060, 2],
          [70, 2060, 5],
          [13, 36, 24],
        ] as const) {
          const options = caseOf(rows, depth, panels, bits)
          const expected = twinOf(options)
          inEveryDot(divided, (dot) => expectSameBits(product(divided, options), expected, `${partitions} partitions, ${dot}`))
        }
      }
    }
  })

  test('rounds a row to nearest, ties to even, to its largest magnitude', () => {
    const [depth, panels] = [72, 1]
    const steps = range(depth).map((i) => (i - 30) / 2)
    for (const bits of BITS) {
      const levels = bits === 14 ? 8191 : 63
      for (const size of [1, 2 ** -100, 2 ** -120, 2 ** 100, 3.3e38 / levels, 1e-44]) {
        const input = Float32Array.from([levels, ...steps.slice(1)], (x) => x * size)
        // the identity, so that outputs are the integers
        const options = { ...caseOf(1, depth, panels, bits), input, scales: new Float32Array(8).fill(1) }
        options.weights.fill(0)
        for (let column = 0; column < 8; column++) options.weights[column * depth + 7 * column] = 1
        const expected = twinOf(options)
        if (size === 1) expect([...expected]).toEqual(range(8).map((column) => roundToEven(input[7 * column]!)))
        inEveryDot(runtime, (dot) => expectSameBits(product(runtime, options), expected, `${bits} bits, times ${size}, ${dot}`))
      }
    }
  })

  test('gives zeros for a row of zeros, and NaN for a row that is not finite, and no other', () => {
    for (const bits of BITS) {
      for (const bad of [NaN, Infinity, -Infinity]) {
        const options = caseOf(5, 36, 5, bits)
        options.input.subarray(36, 72).fill(0)
        options.input[3 * 36 + 17] = bad
        const expected = twinOf(options)
        inEveryDot(runtime, (dot) => {
          const result = product(runtime, options)
          expect([...result.subarray(40, 80)].every((x) => x === 0)).toBe(true)
          expect([...result.subarray(120, 160)].every(Number.isNaN)).toBe(true)
          for (const row of [0, 2, 4]) {
            const place = [row * 40, (row + 1) * 40] as const
            expectSameBits(result.subarray(...place), expected.subarray(...place), dot)
          }
        })
      }
    }
  })

  test('adds the bias, applies GELU and adds to what is there, in this order, each rounded', () => {
    for (const bits of BITS) {
      for (const partitions of [1, 3]) {
        for (const [rows, depth, panels] of [
          [1, 36, 9],
          [70, 2060, 5],
        ] as const) {
          const width = 8 * panels
          const options = { ...caseOf(rows, depth, panels, bits), outputStride: width + 8, bias: normals(width, 3) }
          options.scales.forEach((scale, i) => (options.scales[i] = scale / (60 * Math.sqrt(depth))))
          const addTo = normals(rows * width, 4)
          const biased = twinOf(options).map((value, i) => fround(value + options.bias[i % width]!))
          const divided = runtimeOf(build, partitions)
          inEveryDot(divided, () => {
            expectSameBits(product(divided, options), biased)
            const activated = product(divided, { ...options, activation: Activation.Gelu })
            expectClose(activated, Array.from(biased, gelu), { relative: 2e-6, absolute: 3e-9 })
            const added = product(divided, { ...options, activation: Activation.Gelu, addTo })
            expectSameBits(
              added,
              activated.map((value, i) => fround(addTo[i]! + value)),
            )
          })
        }
      }
    }
  })

  test('reads and writes only its operands, at any 4-byte alignment, and nothing past the weights', () => {
    const alone = openRuntime(build)
    for (const bits of BITS) {
      for (const [rows, depth, panels] of [
        [1, 257, 9],
        [2, 1030, 3],
        [40, 257, 5],
      ] as const) {
        const options = caseOf(rows, depth, panels, bits)
        const expected = twinOf(options)
        for (const misalignment of misalignments) expectSameBits(product(runtime, { ...options, misalignment }), expected)
        inEveryDot(alone, (dot) => expectSameBits(product(alone, { ...options, isAtEnd: true }), expected, dot))
      }
    }
  })
})
