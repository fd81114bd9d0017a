import { describe, expect, test } from 'vitest'
import { Opcode } from '../../assembly/ir/ops.js'
import type { Runtime } from '../../src/device/runtime.js'
import { createRandom } from '../../src/random.js'
import { allBuilds } from '../support/runtimes.js'
import { attention, headRows, keyIndex, packHeads, valueIndex } from './attention-twin.js'
import { expectClose, expectSameBits, range, roundUpTo8 } from './float32.js'
import { contextLengths, headWidths } from './op-cases.js'
import { expectOwnMemory, misalignments, runtimeOf, partitionCounts, OpMemory } from './op-runner.js'
import { attendedByWindow, windowedAttentionOp, windowedRows } from './windowed-attention-op.js'

const TILE_ROWS = 6

interface RoutedCase {
  readonly heads: number
  readonly width: number
  readonly headStride: number
  readonly queries: readonly Float32Array[]
  /** The null key/value first. */
  readonly keys: readonly Float32Array[]
  readonly values: readonly Float32Array[]
  readonly capacity?: number
  readonly misalignment?: number
  readonly gap?: number
}

/** @param context key/values, the null one not counted */
function caseOf(rows: number, context: number, width: number, heads = 2): RoutedCase {
  const { normal } = createRandom(rows + 100 * context + 10_000 * width)
  const headStride = roundUpTo8(width)
  const some = (count: number) => headRows(count, heads, width, headStride, normal)
  return { heads, width, headStride, queries: some(rows), keys: some(context + 1), values: some(context + 1) }
}

function attend(runtime: Runtime, options: RoutedCase): Float32Array[] {
  const { heads, width, headStride, queries, keys, values, gap = 0 } = options
  const rows = queries.length
  const inner = heads * headStride
  const stride = inner + gap
  const capacity = options.capacity ?? roundUpTo8(keys.length)
  const memory = new OpMemory(options.misalignment)
  const projected = new Float32Array(rows * stride).fill(NaN)
  queries.forEach((row, i) => projected.set(row, i * stride))
  const { partitions } = runtime.device
  const scores = memory.output(partitions * (capacity * TILE_ROWS + 8))
  const output = memory.output(rows * stride, [{ rows, width: inner, stride }])
  const fields = {
    rows: memory.count(rows),
    queries: memory.input(projected),
    keys: memory.input(packHeads(keyIndex, keys, heads, headStride, capacity)),
    values: memory.input(packHeads(valueIndex, values, heads, headStride, capacity)),
    output,
    scores,
    end: memory.count(keys.length - 1),
    queryStride: stride,
    outputStride: stride,
    window: capacity,
    heads,
    headWidth: width,
    headStride,
    capacity,
    advance: 0,
    scoreStride: capacity,
    scale: 1 / Math.sqrt(width),
  }
  memory.run(runtime, Opcode.Attention, fields)
  if (heads * Math.ceil(rows / TILE_ROWS) >= partitions) expectOwnMemory(memory.ints(scores), partitions)
  const attended = memory.floats(output)
  return range(rows).map((row) => attended.slice(row * stride, row * stride + inner))
}

function expectSameRows(actual: readonly Float32Array[], expected: readonly Float32Array[], about: string): void {
  expect(actual.length, about).toBe(expected.length)
  actual.forEach((row, i) => expectSameBits(row, expected[i]!, `row ${i} ${about}`))
}

describe.each(allBuilds)('routed attention on the %s build', (build) => {
  const runtime = runtimeOf(build)

  test('attends from every row to the null key and the whole context', () => {
    for (const width of headWidths) {
      for (const context of contextLengths) {
        for (const rows of [...range(15), 128]) {
          if (rows === 128 ? context !== 20 : context > 63 && rows !== 13) continue
          const options = caseOf(rows, context, width)
          const result = attend(runtime, options)
          result.forEach((row, i) => {
            const expected = attention(options.queries[i]!, options.keys, options.values, options)
            expectClose(row, expected, { absolute: 3e-6 }, `row ${i} of ${rows}, context ${context}, heads of ${width}`)
          })
        }
      }
    }
  })

  test('attends window by window, each to a context of its own', () => {
    for (const counts of windowedRows) {
      const expected = attendedByWindow(counts)
      for (const partitions of [1, ...partitionCounts]) {
        const { memory, opcode, fields, chunk, output } = windowedAttentionOp(counts, { partitions, misalignment: 4 * (partitions % 4) })
        memory.run(runtimeOf(build, partitions), opcode, fields, chunk)
        const attended = memory.floats(output)
        const width = attended.length / expected.length
        expected.forEach((row, i) => {
          const actual = attended.slice(i * width, (i + 1) * width)
          expectClose(actual, row, { absolute: 3e-6 }, `row ${i} of windows of ${counts.join(', ')} rows`)
        })
      }
    }
  })

  test('gives only the null value if there is no context', () => {
    const options = caseOf(7, 0, 10)
    expectSameRows(attend(runtime, options), Array<Float32Array>(7).fill(options.values[0]!), 'without context')
  })

  test('gives a query the same bits at any row, among any others', () => {
    for (const context of contextLengths) {
      const options = caseOf(14, context, 10)
      const together = attend(runtime, options)
      options.queries.forEach((query, i) => {
        expectSameRows(attend(runtime, { ...options, queries: [query] }), [together[i]!], 'alone')
      })
      const reversed = attend(runtime, { ...options, queries: [...options.queries].reverse() })
      expectSameRows(reversed.reverse(), together, 'in reverse')
    }
  })

  test('has the same bits in any number of partitions, for any number of heads and any capacity', () => {
    for (const heads of [1, 3]) {
      for (const rows of [1, 5, 13]) {
        const options = caseOf(rows, 20, 6, heads)
        const result = attend(runtime, options)
        expectSameRows(attend(runtime, { ...options, capacity: 64 }), result, 'in a larger context')
        for (const partitions of partitionCounts)
          expectSameRows(attend(runtimeOf(build, partitions), options), result, `in ${partitions} partitions`)
      }
    }
  })

  test('reads and writes only its rows where strides are wider, at any 4-byte alignment', () => {
    const options = caseOf(13, 9, 10)
    const result = attend(runtime, options)
    for (const misalignment of misalignments) {
      expectSameRows(attend(runtime, { ...options, misalignment, gap: 3 }), result, `${misalignment} bytes off`)
    }
  })

  test('survives NaN and infinities, which affect neither other heads nor, from a query, other rows', () => {
    const options = caseOf(13, 9, 10)
    const result = attend(runtime, options)
    for (const value of [NaN, Infinity, -Infinity]) {
      for (const part of ['queries', 'keys', 'values'] as const) {
        const rows = options[part].map((row) => row.slice())
        rows[4]![3] = value
        attend(runtime, { ...options, [part]: rows }).forEach((row, i) => {
          const from = part === 'queries' && i !== 4 ? 0 : options.headStride
          expectSameBits(row.subarray(from), result[i]!.subarray(from), `${value} in ${part}: row ${i}`)
        })
      }
    }
  })
})
