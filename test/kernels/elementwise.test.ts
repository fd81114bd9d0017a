import { describe, expect, test } from 'vitest'
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import { WeightFormat } from '../../assembly/ir/values.js'
import type { Runtime } from '../../src/device/runtime.js'
import { allBuilds } from '../support/runtimes.js'
import { expectClose, expectSameBits, gather, integers, normals, range, roundUpTo8, spread } from './float32.js'
import { rowWidths, vocabularies } from './op-cases.js'
import { misalignments, runtimeOf, partitionCounts, OpMemory } from './op-runner.js'

const { fround } = Math
const everyPartition = [1, ...partitionCounts]

describe.each(allBuilds)('embedding on the %s build', (build) => {
  const [vocabulary, places] = [11, 20]

  function embed(runtime: Runtime, ids: Int32Array, stride: number, position?: number, misalignment = 0): Float32Array {
    const memory = new OpMemory(misalignment)
    const output = memory.output(ids.length * stride)
    const fields = {
      rows: memory.count(ids.length),
      tokenIds: memory.input(ids),
      tokens: memory.input(normals(vocabulary * stride, 1)),
      positions: position === undefined ? undefined : memory.input(normals(places * stride, 2)),
      output,
      stride,
      tokensFormat: WeightFormat.Float32,
    }
    memory.run(runtime, Opcode.Embed, fields, { [DispatchHeader.Position]: position ?? 2 ** 40 })
    return memory.floats(output)
  }

  test("gives each token's row, plus its position's where there are any", () => {
    for (const stride of new Set(rowWidths.map(roundUpTo8))) {
      const tokens = normals(vocabulary * stride, 1)
      const learned = normals(places * stride, 2)
      for (const [rows, position] of [
        [0, 0],
        [1, 19],
        [7, undefined],
        [13, undefined],
        [13, 0],
        [13, 7],
      ] as const) {
        const ids = integers(rows, vocabulary, rows)
        const expected = Float32Array.from({ length: rows * stride }, (_, i) => {
          const [row, column] = [Math.floor(i / stride), i % stride]
          const value = tokens[ids[row]! * stride + column]!
          return position === undefined ? value : fround(value + learned[(position + row) * stride + column]!)
        })
        for (const partitions of everyPartition) expectSameBits(embed(runtimeOf(build, partitions), ids, stride, position), expected)
        for (const misalignment of misalignments) expectSameBits(embed(runtimeOf(build), ids, stride, position, misalignment), expected)
      }
    }
  })
})

describe.each(allBuilds)('copying rows on the %s build', (build) => {
  test('goes on at the front of a ring where its end is reached', () => {
    const [stride, ring] = [16, 9]
    for (const [rows, first] of [
      [1, 8],
      [2, 8],
      [9, 4],
      [7, 2],
      [5, 1],
    ] as const) {
      for (const partitions of everyPartition) {
        const memory = new OpMemory(4 * (partitions % 4))
        const input = normals(rows * stride, rows)
        const places = Array.from({ length: rows }, (_, i) => (first + i) % ring)
        const output = memory.output(
          ring * stride,
          places.map((place) => ({ first: place * stride, width: stride })),
        )
        memory.run(runtimeOf(build, partitions), Opcode.CopyRows, {
          rows: memory.count(rows),
          first: memory.count(first),
          input: memory.input(input),
          output,
          stride,
          ring,
        })
        const copied = memory.floats(output)
        expectSameBits(Float32Array.from(places.flatMap((place) => [...copied.subarray(place * stride, (place + 1) * stride)])), input)
      }
    }
  })

  test('moves rows to the first one asked for and those behind it', () => {
    const stride = 16
    for (const [rows, first] of [
      [0, 3],
      [1, 0],
      [7, undefined],
      [13, 4],
    ] as const) {
      for (const partitions of everyPartition) {
        const memory = new OpMemory(4 * (partitions % 4))
        const input = normals(rows * stride, rows)
        const output = memory.output((rows + 6) * stride, [{ first: (first ?? 0) * stride, width: rows * stride }])
        memory.run(runtimeOf(build, partitions), Opcode.CopyRows, {
          rows: memory.count(rows),
          first: first === undefined ? undefined : memory.count(first),
          input: memory.input(input),
          output,
          stride,
        })
        expectSameBits(memory.floats(output).subarray((first ?? 0) * stride, ((first ?? 0) + rows) * stride), input)
      }
    }
  })
})

interface CombineCase {
  readonly rows: number
  readonly experts: number
  readonly routed: boolean
  readonly average: boolean
  readonly scored: boolean
  /** None; of its own; or the rows that the output goes to. */
  readonly residual: 'none' | 'other' | 'output'
  /** Which of the rows are asked for; default: all. */
  readonly answered?: { readonly first: number; readonly rows: number }
  readonly misalignment?: number
}

const COMBINE_STRIDE = 24

function combineOperands({ rows, experts }: CombineCase) {
  const rowCapacity = rows + 3
  // a place in the expert's list, or none; the lists' rows come in any order
  const slots = integers(experts * rowCapacity, rowCapacity + 2, rows + 1).map((slot) => Math.max(slot - 2, -1))
  return {
    rowCapacity,
    slots,
    local: normals(rows * COMBINE_STRIDE, 1),
    outputs: normals(experts * rowCapacity * COMBINE_STRIDE, 2),
    scores: normals(experts * rowCapacity, 3),
    nullTokens: normals(experts * COMBINE_STRIDE, 4),
    residual: normals(rows * COMBINE_STRIDE, 5),
  }
}

function combine(runtime: Runtime, options: CombineCase): Float32Array {
  const { rows, experts, routed, average, scored, residual } = options
  const operands = combineOperands(options)
  const memory = new OpMemory(options.misalignment)
  const { answered = { first: 0, rows } } = options
  const behind = (answered.first + answered.rows) * COMBINE_STRIDE
  const output = residual === 'output' ? memory.inputOutput(operands.residual) : memory.output(answered.rows * COMBINE_STRIDE)
  const fields = {
    rows: memory.count(answered.rows),
    first: options.answered && memory.count(answered.first),
    local: memory.inputOutput(operands.local.subarray(answered.first * COMBINE_STRIDE, behind)),
    routed: memory.input(operands.outputs),
    slots: memory.input(operands.slots),
    listScores: scored ? memory.input(operands.scores) : undefined,
    nullTokens: memory.input(operands.nullTokens),
    residual: residual === 'none' ? undefined : residual === 'output' ? output : memory.input(operands.residual),
    output,
    stride: COMBINE_STRIDE,
    experts,
    rowCapacity: operands.rowCapacity,
  }
  memory.run(runtime, Opcode.Combine, fields, {
    [DispatchHeader.Rows]: rows,
    [DispatchHeader.Routed]: Number(routed),
    [DispatchHeader.Average]: Number(average),
  })
  return memory.floats(output)
}

/** The plain twin, each operation rounded, in either arithmetic. */
function combined(options: CombineCase): Float32Array {
  const { rowCapacity, slots, local, outputs, scores, nullTokens, residual } = combineOperands(options)
  return local.map((value, i) => {
    const [row, column] = [Math.floor(i / COMBINE_STRIDE), i % COMBINE_STRIDE]
    let sum = value
    for (let expert = 0; options.routed && expert < options.experts; expert++) {
      const slot = slots[expert * rowCapacity + row]!
      const place = expert * rowCapacity + slot
      const score = options.scored ? scores[place]! : 1
      const term = slot < 0 ? nullTokens[expert * COMBINE_STRIDE + column]! : fround(outputs[place * COMBINE_STRIDE + column]! * score)
      sum = fround(sum + term)
    }
    if (options.average) sum = fround(sum / (options.experts + 1))
    return options.residual === 'none' ? sum : fround(sum + residual[i]!)
  })
}

describe.each(allBuilds)('combination on the %s build', (build) => {
  test('adds what each expert gives a row, or its null token, in expert order; then averages; then adds the residual', () => {
    for (const experts of [1, 2, 5]) {
      for (const rows of [0, 1, 7]) {
        for (const residual of ['none', 'other', 'output'] as const) {
          for (const flags of range(8)) {
            const options = { rows, experts, residual, routed: !!(flags & 1), average: !!(flags & 2), scored: !!(flags & 4) }
            expectSameBits(combine(runtimeOf(build), options), combined(options))
          }
        }
      }
    }
  })

  test('gives the rows that are asked for alone, one behind the other', () => {
    const options = { rows: 13, experts: 3, residual: 'other', routed: true, average: false, scored: true } as const
    for (const [first, rows] of [
      [12, 1],
      [4, 6],
      [5, 0],
    ] as const) {
      const expected = combined(options).subarray(first * COMBINE_STRIDE, (first + rows) * COMBINE_STRIDE)
      expectSameBits(combine(runtimeOf(build), { ...options, answered: { first, rows } }), expected)
    }
  })

  test('has the same bits at any alignment and in any number of partitions', () => {
    const options = { rows: 13, experts: 3, residual: 'output', routed: true, average: true, scored: true } as const
    for (const misalignment of misalignments) expectSameBits(combine(runtimeOf(build), { ...options, misalignment }), combined(options))
    for (const partitions of partitionCounts) expectSameBits(combine(runtimeOf(build, partitions), options), combined(options))
  })
})

describe.each(allBuilds)('probabilities of targets on the %s build', (build) => {
  function logProbabilities(runtime: Runtime, logits: Float32Array, width: number, targets: Int32Array, misalignment = 0): Float64Array {
    const stride = roundUpTo8(width) + 8
    const memory = new OpMemory(misalignment)
    const output = memory.output(targets.length * 2)
    memory.run(runtime, Opcode.LogProbabilities, {
      rows: memory.count(targets.length),
      logits: memory.input(spread(logits, width, stride)),
      targets: memory.input(targets),
      output,
      stride,
      width,
    })
    return memory.doubles(output)
  }

  /** The plain twin, in float64. */
  function twin(logits: Float32Array, width: number, targets: Int32Array): Float64Array {
    return Float64Array.from(targets, (target, row) => {
      const x = logits.subarray(row * width, (row + 1) * width)
      const largest = x.reduce((most, value) => Math.max(most, value))
      return x[target]! - largest - Math.log(x.reduce((sum, value) => sum + Math.exp(value - largest), 0))
    })
  }

  test('are the logarithms of the softmax, at every width', () => {
    for (const width of vocabularies) {
      for (const scale of [1, 30, 1e4]) {
        const logits = normals(5 * width, width).map((x) => x * scale)
        const targets = integers(5, width, width)
        const result = logProbabilities(runtimeOf(build), logits, width, targets)
        expectClose(result, twin(logits, width, targets), { absolute: 2e-6, relative: 1e-9 }, `width ${width}, scale ${scale}`)
      }
    }
  })

  test("are as exact as float32's exponentials of anything can be", () => {
    const rows = 4000
    const logits = Float32Array.from(range(rows).flatMap((row) => [0, row / -40]))
    const targets = new Int32Array(rows)
    expectClose(logProbabilities(runtimeOf(build), logits, 2, targets), twin(logits, 2, targets), { absolute: 1.5e-7 })
  })

  test('have the same bits at any row, alignment and number of partitions', () => {
    const width = 21
    const logits = normals(13 * width, 1)
    const targets = integers(13, width, 2)
    const result = logProbabilities(runtimeOf(build), logits, width, targets)
    for (const misalignment of misalignments)
      expectSameBits(logProbabilities(runtimeOf(build), logits, width, targets, misalignment), result)
    for (const partitions of partitionCounts) expectSameBits(logProbabilities(runtimeOf(build, partitions), logits, width, targets), result)
    for (const row of range(13)) {
      const alone = logProbabilities(
        runtimeOf(build),
        logits.subarray(row * width, (row + 1) * width),
        width,
        targets.subarray(row, row + 1),
      )
      expectSameBits(alone, result.subarray(row, row + 1))
    }
    expect(logProbabilities(runtimeOf(build), logits, width, new Int32Array(0))).toHaveLength(0)
  })

  test('are 0 for the only finite logit, -Infinity for one that is -Infinity, and NaN in a row with NaN alone', () => {
    const width = 6
    const logits = gather(normals(4 * width, 3), 4, width, width)
    logits.fill(-Infinity, 0, width)
    logits[3] = 5
    logits[width + 2] = -Infinity
    logits[2 * width + 5] = NaN
    const result = logProbabilities(runtimeOf(build), logits, width, Int32Array.of(3, 2, 0, 1))
    expect([...result.subarray(0, 3)]).toEqual([0, -Infinity, NaN])
    expectClose(result.subarray(3), twin(logits, width, Int32Array.of(0, 0, 0, 1)).subarray(3), { absolute: 1e-6 })
  })
})
