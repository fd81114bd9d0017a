import { describe, expect, test } from 'vitest'
import { Opcode } from '../../assembly/ir/ops.js'
import { Activation, WeightFormat } from '../../assembly/ir/values.js'
import type { Runtime } from '../../src/device/runtime.js'
import { createRandom } from '../../src/random.js'
import { gelu } from '../reference/arithmetic.js'
import { bitsOf, floatOf, fromHalf, toHalf } from '../support/halves.js'
import { allBuilds, type BuildName, openRuntime } from '../support/runtimes.js'
import { expectClose, expectSameBits, gather, type MultiplyAdd, multiplyAddOf, normals, range, roundUpTo8, spread } from './float32.js'
import { productSizes } from './op-cases.js'
import { inEveryShape, misalignments, runtimeOf, partitionCounts, OpMemory } from './op-runner.js'

const { fround } = Math

interface ProductCase {
  readonly rows: number
  readonly depth: number
  readonly panels: number
  /** rows × depth */
  readonly input: Float32Array
  /** depth × columns, `columns` being at least 8 · panels. */
  readonly weights: Float32Array
  readonly columns: number
  readonly inputStride?: number
  readonly outputStride?: number
  readonly bias?: Float32Array
  readonly addTo?: Float32Array
  readonly activation?: Activation
  readonly misalignment?: number
  /** Weights are packed in it; they must be values that it has. */
  readonly format?: WeightFormat
  /** Whether the weights end where the memory does. */
  readonly isAtEnd?: boolean
}

/** A matrix of `depth` rows, its first 8 · panels columns, as groups of up to four panels, [depth][8 · panels] each. */
function packPanels(matrix: Float32Array, depth: number, columns: number, panels: number): Float32Array {
  const packed = new Float32Array(panels * depth * 8)
  let at = 0
  for (let column = 0; column < 8 * panels; column += 32) {
    const width = Math.min(32, 8 * panels - column)
    for (let k = 0; k < depth; k++, at += width) packed.set(matrix.subarray(k * columns + column, k * columns + column + width), at)
  }
  return packed
}

/** Values as 16-bit halves, two to a word. */
function narrow(values: Float32Array, format: WeightFormat): Int32Array {
  const halves = Uint16Array.from(values, format === WeightFormat.Float16 ? toHalf : (value) => bitsOf(value) >>> 16)
  return new Int32Array(halves.buffer)
}

/** The op's result, rows × 8 · panels: its output, or what it was added to. */
function product(runtime: Runtime, options: ProductCase): Float32Array {
  const { rows, depth, panels, columns, bias, addTo } = options
  const { inputStride = depth, outputStride = 8 * panels, format = WeightFormat.Float32 } = options
  const packed = packPanels(options.weights, depth, columns, panels)
  const weights = format === WeightFormat.Float32 ? packed : narrow(packed, format)
  const width = 8 * panels
  const memory = new OpMemory(options.misalignment)
  const writable = [{ rows, width, stride: outputStride }]
  const output = memory.output(rows * outputStride, writable)
  const target = addTo ? memory.inputOutput(spread(addTo, width, outputStride), writable) : output
  memory.run(runtime, Opcode.Matmul, {
    rows: memory.count(rows),
    input: memory.input(spread(options.input, depth, inputStride)),
    weights: options.isAtEnd ? memory.inputAtEnd(weights) : memory.input(weights),
    output,
    bias: bias && memory.input(bias.subarray(0, width)),
    addTo: addTo && target,
    inputStride,
    outputStride,
    depth,
    panels,
    activation: options.activation ?? Activation.None,
    format,
  })
  return gather(memory.floats(target), rows, width, outputStride)
}

/** The plain twin: every output one chain in ascending k, from +0. */
function chains(multiplyAdd: MultiplyAdd, input: Float32Array, depth: number, weights: Float32Array, columns: number): Float32Array {
  const rows = depth === 0 ? 0 : input.length / depth
  const out = new Float32Array(rows * columns)
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < depth; k++) {
      const a = input[row * depth + k]!
      for (let column = 0; column < columns; column++) {
        out[row * columns + column] = multiplyAdd(a, weights[k * columns + column]!, out[row * columns + column]!)
      }
    }
  }
  return out
}

/** What the polynomial in assembly/math/gelu.ts leaves: below float32's own rounding of x for every x. */
const GELU_ERROR = { relative: 2e-6, absolute: 3e-9 }

const MAX_ROWS = 128
const COLUMNS = 72
const rowCounts = [...range(15), MAX_ROWS]
const panelCounts = range(10).slice(1)
const depths = [0, 1, 7, 255, 256, 257, 513]
const operands = new Map(
  depths.map((depth) => [depth, { input: normals(MAX_ROWS * depth, depth + 1), weights: normals(depth * COLUMNS, depth + 2) }]),
)

const twins = new Map<string, Float32Array>()

/** The twin's result for the most rows and columns: every smaller product is a corner of it. */
function twinOf(runtime: Runtime, depth: number): Float32Array {
  const key = `${runtime.info.fused} ${depth}`
  let twin = twins.get(key)
  if (!twin) {
    const { input, weights } = operands.get(depth)!
    twin = depth === 0 ? new Float32Array(MAX_ROWS * COLUMNS) : chains(multiplyAddOf(runtime), input, depth, weights, COLUMNS)
    twins.set(key, twin)
  }
  return twin
}

function caseOf(rows: number, depth: number, panels: number): ProductCase {
  const { input, weights } = operands.get(depth)!
  return { rows, depth, panels, columns: COLUMNS, weights, input: input.subarray(0, rows * depth) }
}

/**
 * What follows the last k, each operation rounded: bias, activation, addition. GELU is not the twin's: it is taken from
 * what the op gave alone.
 */
function finish(sums: Float32Array, width: number, bias: Float32Array | undefined, addTo: Float32Array | undefined): Float32Array {
  const biased = bias ? sums.map((value, i) => fround(value + bias[i % width]!)) : sums
  return addTo ? biased.map((value, i) => fround(addTo[i]! + value)) : biased
}

describe.each(allBuilds)('a product on the %s build', (build: BuildName) => {
  const runtime = runtimeOf(build)

  test('sums every output in one chain over ascending k, for any rows, columns and depth', () => {
    for (const depth of depths) {
      const twin = twinOf(runtime, depth)
      for (const rows of rowCounts) {
        for (const panels of panelCounts) {
          const result = product(runtime, caseOf(rows, depth, panels))
          expectSameBits(result, gather(twin, rows, 8 * panels, COLUMNS), `${rows} rows, depth ${depth}, ${panels} panels`)
        }
      }
    }
  })

  test('does so at the sizes that GPUs are tested at', () => {
    for (const [rows, depth, columns] of productSizes) {
      const width = roundUpTo8(columns)
      const [input, weights] = [normals(rows * depth, 15), normals(depth * width, 16)]
      const result = product(runtime, { rows, depth, panels: width / 8, columns: width, input, weights })
      expectSameBits(result, chains(multiplyAddOf(runtime), input, depth, weights, width), `${rows} × ${depth} × ${columns}`)
    }
  })

  test('has the same bits in tiles of every shape', () => {
    inEveryShape(runtime, (shape) => {
      for (const depth of depths) {
        for (const rows of [1, 2, 3, 4, 5, 6, 7, 11, 12, 13, MAX_ROWS]) {
          for (const panels of panelCounts) {
            const result = product(runtime, caseOf(rows, depth, panels))
            const expected = gather(twinOf(runtime, depth), rows, 8 * panels, COLUMNS)
            expectSameBits(result, expected, `${shape}: ${rows} rows, depth ${depth}, ${panels} panels`)
          }
        }
      }
    })
  })

  test('has the same bits in any number of partitions', () => {
    for (const partitions of partitionCounts) {
      for (const depth of [7, 257]) {
        for (const rows of [0, 1, 2, 3, 7, MAX_ROWS]) {
          for (const panels of panelCounts) {
            const result = product(runtimeOf(build, partitions), caseOf(rows, depth, panels))
            expectSameBits(
              result,
              gather(twinOf(runtime, depth), rows, 8 * panels, COLUMNS),
              `${partitions} partitions: ${rows} rows, depth ${depth}, ${panels} panels`,
            )
          }
        }
      }
    }
  })

  test('reads and writes only its rows where strides are wider, at any 4-byte alignment', () => {
    for (const misalignment of misalignments) {
      for (const [rows, depth, panels, partitions] of [
        [1, 7, 5, 1],
        [2, 257, 3, 2],
        [13, 7, 9, 3],
      ] as const) {
        const options = { ...caseOf(rows, depth, panels), inputStride: depth + 5, outputStride: 8 * panels + 16, misalignment }
        expectSameBits(product(runtimeOf(build, partitions), options), gather(twinOf(runtime, depth), rows, 8 * panels, COLUMNS))
      }
    }
  })

  test('reads nothing past the weights, though it prefetches', () => {
    const alone = openRuntime(build)
    inEveryShape(alone, (shape) => {
      for (const format of [WeightFormat.Float32, WeightFormat.Float16, WeightFormat.Bfloat16]) {
        for (const rows of [1, 2, 7, 40]) {
          for (const panels of [3, 4, 9]) {
            const { input } = caseOf(rows, 257, panels)
            const weights = new Float32Array(257 * COLUMNS).fill(0.5) // in any format
            const options = { rows, depth: 257, panels, columns: COLUMNS, input, weights, format }
            expectSameBits(
              product(alone, { ...options, isAtEnd: true }),
              product(alone, options),
              `${shape}: ${rows} rows, ${panels} panels`,
            )
          }
        }
      }
    })
  })

  test('adds the bias after the last k, then the rest, in one order', () => {
    const bias = normals(COLUMNS, 3)
    for (const depth of [0, 7, 513]) {
      for (const rows of [1, 3, 11]) {
        for (const panels of [1, 4, 7]) {
          const width = 8 * panels
          const addTo = normals(rows * width, 4)
          const sums = gather(twinOf(runtime, depth), rows, width, COLUMNS)
          const options = { ...caseOf(rows, depth, panels), outputStride: width + 8 }
          expectSameBits(product(runtime, { ...options, bias }), finish(sums, width, bias.subarray(0, width), undefined))
          expectSameBits(product(runtime, { ...options, addTo }), finish(sums, width, undefined, addTo))
          for (const partitions of [1, ...partitionCounts]) {
            const result = product(runtimeOf(build, partitions), { ...options, bias, addTo, misalignment: 4 })
            expectSameBits(result, finish(sums, width, bias.subarray(0, width), addTo))
          }
        }
      }
    }
  })

  test('applies GELU to the biased sum, before it is added', () => {
    const [rows, depth, panels] = [13, 257, 5]
    const width = 8 * panels
    const bias = normals(width, 5)
    const addTo = normals(rows * width, 6)
    // a quarter of the inputs: sums then are where GELU bends
    const options = { ...caseOf(rows, depth, panels), input: caseOf(rows, depth, panels).input.map((x) => x / 4), bias }
    const sums = product(runtime, options)
    const activated = product(runtime, { ...options, activation: Activation.Gelu })
    expectClose(activated, Array.from(sums, gelu), GELU_ERROR)
    for (const partitions of [1, ...partitionCounts]) {
      const result = product(runtimeOf(build, partitions), { ...options, addTo, activation: Activation.Gelu })
      expectSameBits(result, finish(activated, width, undefined, addTo))
    }
  })

  test('has the exact GELU, to 3e-9 where it is small and negative', () => {
    const values = Float32Array.from([...range(16001).map((i) => (i - 8000) / 1000), -0, 1e-30, -1e-30, 1e-42, 50, 3e38])
    const ones = new Float32Array(8).fill(1)
    const options = { rows: values.length, depth: 1, panels: 1, columns: 8, input: values, weights: ones, activation: Activation.Gelu }
    expectClose(gather(product(runtime, options), values.length, 1, 8), Array.from(values, gelu), GELU_ERROR)
  })

  test('rounds as its arithmetic says where values cancel, underflow or overflow', () => {
    const [rows, depth, panels] = [7, 64, 3]
    const columns = 8 * panels
    const exponents = [() => 0, (i: number) => ((i * 37) % 81) - 40, () => -70, (i: number) => 55 + (i % 8)]
    for (const exponent of exponents) {
      const scaled = (values: Float32Array) => values.map((x, i) => x * 2 ** exponent(i))
      const input = scaled(normals(rows * depth, 7))
      const weights = scaled(normals(depth * columns, 8))
      // every product once more with the other sign: what is left of the first half are its rounding errors
      for (let row = 0; row < rows; row++) input.set(input.slice(row * depth, row * depth + depth / 2), row * depth + depth / 2)
      weights.set(
        weights.slice(0, (depth / 2) * columns).map((x) => -x),
        (depth / 2) * columns,
      )
      const expected = chains(multiplyAddOf(runtime), input, depth, weights, columns)
      expectSameBits(product(runtime, { rows, depth, panels, columns, input, weights }), expected)
    }
  })

  describe.each([
    ['float16', WeightFormat.Float16, fromHalf],
    ['bfloat16', WeightFormat.Bfloat16, (bits: number) => floatOf(bits << 16)],
  ] as const)('of %s weights', (_name, format, widened) => {
    /** Halves at random, subnormal ones and zeros of both signs too; of finite values only. */
    function halves(length: number, seed: number): Float32Array {
      const random = createRandom(seed)
      return Float32Array.from({ length }, () => {
        for (;;) {
          const value = widened(Math.floor(random.uniform() * 65536))
          if (Number.isFinite(value) && Math.abs(value) < 1e5) return value
        }
      })
    }

    test('has the bits of the same weights in float32 in tiles of every shape', () => {
      const weights = halves(257 * COLUMNS, 14)
      for (const rows of [1, 2, 3, 4, 5, 13]) {
        const options = { ...caseOf(rows, 257, 9), weights }
        const expected = product(runtime, options)
        inEveryShape(runtime, (shape) => expectSameBits(product(runtime, { ...options, format }), expected, `${shape}: ${rows} rows`))
      }
    })

    test('has the bits of the same weights in float32, for any rows, columns and depth', () => {
      const weights = halves(513 * COLUMNS, 9)
      for (const depth of [0, 1, 7, 257, 513]) {
        for (const rows of [1, 2, 3, 4, 5, 6, 13]) {
          for (const panels of panelCounts) {
            const options = { ...caseOf(rows, depth, panels), weights }
            const expected = product(runtime, options)
            for (const partitions of [1, 3]) {
              const result = product(runtimeOf(build, partitions), { ...options, format })
              expectSameBits(result, expected, `${rows} rows, depth ${depth}, ${panels} panels, ${partitions} partitions`)
            }
          }
        }
      }
    })

    test('has them for values of any magnitude, beyond where the scale of widening overflows', () => {
      const [depth, panels] = [257, 5]
      const weights = halves(depth * COLUMNS, 10)
      for (const size of [32767.9, 32768, 1e6, 1e30, 1e-30, 1e-42]) {
        for (const place of [0, 40, 255, 256]) {
          for (const rows of [1, 2, 3, 4]) {
            const options = { ...caseOf(rows, depth, panels), weights }
            const input = options.input.slice()
            input[place] = -size
            expectSameBits(product(runtime, { ...options, input, format }), product(runtime, { ...options, input }), `${size} at ${place}`)
          }
        }
      }
    })

    test('finishes them like others: bias, GELU and addition', () => {
      const [depth, panels] = [257, 9]
      const bias = normals(COLUMNS, 11)
      for (const rows of [1, 5]) {
        const options = {
          ...caseOf(rows, depth, panels),
          weights: halves(depth * COLUMNS, 12),
          bias,
          addTo: normals(rows * COLUMNS, 13),
          activation: Activation.Gelu,
        }
        expectSameBits(product(runtime, { ...options, format }), product(runtime, options))
      }
    })
  })

  test('keeps a row with NaN or infinities from the others', () => {
    const [rows, depth, panels] = [11, 257, 5]
    for (const value of [NaN, Infinity, -Infinity]) {
      for (const row of [0, 4, 10]) {
        const options = caseOf(rows, depth, panels)
        const input = options.input.slice()
        input[row * depth + 100] = value
        const result = product(runtime, { ...options, input, activation: Activation.Gelu })
        const expected = product(runtime, { ...options, activation: Activation.Gelu })
        const [from, to] = [row * 8 * panels, (row + 1) * 8 * panels]
        // GELU of -Infinity is 0, its limit
        expect(result.subarray(from, to).every((x) => x === 0 || !Number.isFinite(x))).toBe(true)
        expectSameBits(result.subarray(0, from), expected.subarray(0, from))
        expectSameBits(result.subarray(to), expected.subarray(to))
      }
    }
  })
})

test.each(['checked-baseline', 'checked-relaxed'] as const)('the %s build rejects an operand that is not aligned', (build) => {
  expect(() => product(runtimeOf(build), { ...caseOf(3, 7, 2), misalignment: 2 })).toThrow('unaligned operand')
})
