import { describe, expect, test } from 'vitest'
import { Opcode } from '../../assembly/ir/ops.js'
import type { Runtime } from '../../src/device/runtime.js'
import { allBuilds } from '../support/runtimes.js'
import { type CombineCase, combineCases, combined, combineOp } from './combine-op.js'
import { embedCases, embedded, embedOp } from './embed-op.js'
import { expectClose, expectSameBits, gather, integers, normals, range, roundUpTo8, spread } from './float32.js'
import { rowCopies, vocabularies } from './op-cases.js'
import { misalignments, runtimeOf, partitionCounts, OpMemory } from './op-runner.js'

const everyPartition = [1, ...partitionCounts]

describe.each(allBuilds)('embedding on the %s build', (build) => {
  test("gives each token's row, plus its position's where there are any", () => {
    for (const options of embedCases) {
      const expected = embedded(options)
      const embed = (runtime: Runtime, misalignment = 0) => {
        const { memory, opcode, fields, chunk, output } = embedOp({ ...options, misalignment })
        memory.run(runtime, opcode, fields, chunk)
        return memory.floats(output)
      }
      for (const partitions of everyPartition) expectSameBits(embed(runtimeOf(build, partitions)), expected)
      for (const misalignment of misalignments) expectSameBits(embed(runtimeOf(build), misalignment), expected)
    }
  })
})

describe.each(allBuilds)('copying rows on the %s build', (build) => {
  test('copies rows to the requested place, wrapping around at the end of a ring', () => {
    const stride = 16
    for (const [rows, first, ring] of rowCopies) {
      for (const partitions of everyPartition) {
        const memory = new OpMemory(4 * (partitions % 4))
        const input = normals(rows * stride, rows)
        const places = range(rows).map((row) => ((first ?? 0) + row) % (ring ?? Infinity))
        const output = memory.output(
          (ring ?? rows + 6) * stride,
          places.map((place) => ({ first: place * stride, width: stride })),
        )
        memory.run(runtimeOf(build, partitions), Opcode.CopyRows, {
          rows: memory.count(rows),
          first: first === undefined ? undefined : memory.count(first),
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
})

describe.each(allBuilds)('combination on the %s build', (build) => {
  function combine(runtime: Runtime, options: CombineCase): Float32Array {
    const { memory, opcode, fields, chunk, output } = combineOp(options)
    memory.run(runtime, opcode, fields, chunk)
    return memory.floats(output)
  }

  test("adds each expert's output for a row, or its null token, in expert order; then averages; then adds the residual", () => {
    for (const options of combineCases) expectSameBits(combine(runtimeOf(build), options), combined(options), JSON.stringify(options))
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

  test('are as exact as exponentials in float32 can be', () => {
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
