import { describe, expect, test } from 'vitest'
import { Opcode } from '../../assembly/ir/ops.js'
import { Norm } from '../../assembly/ir/values.js'
import type { Runtime } from '../../src/device/runtime.js'
import { layerNorm, rmsNorm } from '../reference/arithmetic.js'
import { allBuilds } from '../support/runtimes.js'
import { expectClose, expectSameBits, gather, integers, normals, range, roundUpTo8, spread } from './float32.js'
import { rowWidths } from './op-cases.js'
import { misalignments, runtimeOf, partitionCounts, OpMemory } from './op-runner.js'

interface NormCase {
  readonly kind: Norm
  readonly width: number
  readonly rows: number
  /** All rows there are, `width` values each. */
  readonly input: Float32Array
  readonly weight?: Float32Array
  readonly bias?: Float32Array
  readonly stride?: number
  readonly first?: number
  readonly indices?: Int32Array
  /** Rows of the input, if it is a ring. */
  readonly ring?: number
  readonly misalignment?: number
}

/** The rows that the op writes, and what it writes beside them. */
function normalise(runtime: Runtime, options: NormCase): { values: Float32Array; padding: Float32Array } {
  const { kind, width, rows, weight, bias, first, indices, ring } = options
  const stride = options.stride ?? roundUpTo8(width)
  const memory = new OpMemory(options.misalignment)
  const output = memory.output(rows * stride)
  memory.run(runtime, Opcode.Normalise, {
    rows: memory.count(rows),
    first: first === undefined ? undefined : memory.count(first),
    indices: indices && memory.input(indices),
    input: memory.input(spread(options.input, width, stride, 0)),
    output,
    weight: weight && memory.input(spread(weight, width, stride, 0)),
    bias: bias && memory.input(spread(bias, width, stride, 0)),
    kind,
    width,
    stride,
    ring,
  })
  const all = memory.floats(output)
  return { values: gather(all, rows, width, stride), padding: all.filter((_, i) => i % stride >= width) }
}

/** The plain twin, in float64. */
function twin({ kind, width, rows, input, weight, bias, first = 0, indices, ring = Infinity }: NormCase): Float64Array {
  const gamma = Float64Array.from(weight ?? [])
  const beta = Float64Array.from(bias ?? new Float32Array(width))
  const out = new Float64Array(rows * width)
  for (let row = 0; row < rows; row++) {
    const from = ((first + (indices?.[row] ?? row)) % ring) * width
    const x = Float64Array.from(input.subarray(from, from + width))
    out.set(kind === Norm.None ? x : kind === Norm.Layer ? layerNorm(x, gamma, beta) : rmsNorm(x, gamma), row * width)
  }
  return out
}

/** Rows of any size around a mean that is not 0. */
function caseOf(kind: Norm, width: number): NormCase {
  const input = normals(9 * width, width).map((x, i) => (x + 0.5) * 10 ** (Math.floor(i / width) % 3))
  const weights = kind === Norm.None ? {} : { weight: normals(width, 2) }
  return { kind, width, rows: 9, input, ...weights, ...(kind === Norm.Layer && { bias: normals(width, 3) }) }
}

const kinds = [
  ['LayerNorm', Norm.Layer],
  ['RMSNorm', Norm.RootMeanSquare],
  ['a copy', Norm.None],
] as const

describe.each(allBuilds)('on the %s build', (build) => {
  const runtime = runtimeOf(build)

  describe.each(kinds)('%s', (_name, kind) => {
    const tolerance = kind === Norm.None ? {} : { relative: 2e-6, absolute: 2e-6 }

    test('is that of each row, at every width', () => {
      for (const width of rowWidths) {
        const options = caseOf(kind, width)
        expectClose(normalise(runtime, options).values, twin(options), tolerance, `width ${width}`)
      }
    })

    test('writes zeros beyond the width', () => {
      for (const width of rowWidths) {
        const { padding } = normalise(runtime, { ...caseOf(kind, width), stride: roundUpTo8(width) + 8 })
        expectSameBits(padding, new Float32Array(padding.length), `padding of width ${width}`)
      }
    })

    test('takes rows from a first one on, or those of a list, or both, of a ring too', () => {
      for (const width of [1, 6, 16, 37]) {
        const options = caseOf(kind, width)
        for (const choice of [
          { first: 2, rows: 7 },
          { indices: integers(9, 9, 4), rows: 9 },
          { first: 3, indices: integers(20, 6, 5), rows: 20 },
          { first: 6, rows: 7, ring: 9 },
          { first: 5, indices: integers(20, 9, 6), rows: 20, ring: 9 },
        ]) {
          const chosen = { ...options, ...choice, stride: roundUpTo8(width) + 8 }
          expectClose(normalise(runtime, chosen).values, twin(chosen), tolerance)
        }
      }
    })

    test('has the same bits at any row, alignment and number of partitions', () => {
      for (const width of [3, 16, 45]) {
        const options = caseOf(kind, width)
        const { values } = normalise(runtime, options)
        for (const misalignment of misalignments) expectSameBits(normalise(runtime, { ...options, misalignment }).values, values)
        for (const partitions of partitionCounts) expectSameBits(normalise(runtimeOf(build, partitions), options).values, values)
        for (const row of range(9)) {
          const alone = normalise(runtime, { ...options, rows: 1, first: row })
          expectSameBits(alone.values, values.subarray(row * width, (row + 1) * width))
        }
      }
    })

    test('writes nothing for no rows', () => {
      for (const partitions of [1, 3])
        expect(normalise(runtimeOf(build, partitions), { ...caseOf(kind, 5), rows: 0 }).values).toHaveLength(0)
    })

    test('survives a row of NaN or infinities, which affects no other row', () => {
      const width = 13
      const options = caseOf(kind, width)
      const expected = normalise(runtime, options).values
      for (const value of [NaN, Infinity, -Infinity]) {
        const input = options.input.slice()
        input[4 * width + 2] = value
        const { values } = normalise(runtime, { ...options, input })
        expect(Number.isFinite(values[4 * width + 2])).toBe(false)
        expectSameBits(values.subarray(0, 4 * width), expected.subarray(0, 4 * width))
        expectSameBits(values.subarray(5 * width), expected.subarray(5 * width))
      }
    })
  })

  test('a row of zeros is the bias under LayerNorm and zero under RMSNorm', () => {
    for (const width of [1, 7, 24]) {
      const zeros = { ...caseOf(Norm.Layer, width), input: new Float32Array(9 * width) }
      expectSameBits(normalise(runtime, { ...zeros, rows: 1 }).values, zeros.bias!)
      const { values } = normalise(runtime, { ...zeros, kind: Norm.RootMeanSquare })
      expectClose(values, new Float32Array(9 * width), {})
    }
  })

  test('a row of equal values is the bias under LayerNorm, to rounding', () => {
    const width = 21
    const options = { ...caseOf(Norm.Layer, width), input: new Float32Array(9 * width).fill(0.1) }
    expectClose(normalise(runtime, options).values, twin(options), { absolute: 1e-5 })
  })

  test('a row far below 1e-12 stays that small under RMSNorm', () => {
    const width = 12
    const options = { ...caseOf(Norm.RootMeanSquare, width), input: normals(9 * width, 6).map((x) => x * 1e-16) }
    expectClose(normalise(runtime, options).values, twin(options), { relative: 1e-6 })
  })
})
