import { describe, expect, test } from 'vitest'
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import type { Runtime } from '../../src/device/runtime.js'
import { createRandom } from '../../src/random.js'
import { allBuilds, type BuildName } from '../support/runtimes.js'
import { attention, headRows, keyIndex, unpackHeads, valueIndex } from './attention-twin.js'
import { expectClose, expectSameBits, range, roundUpTo8 } from './float32.js'
import { headWidths, localWindows } from './op-cases.js'
import { expectOwnMemory, inEveryShape, misalignments, runtimeOf, partitionCounts, OpMemory } from './op-runner.js'

const { fround } = Math
/**
 * Rows of the largest tile: each partition's working memory holds the scores of that many rows, and as many
 * reciprocals.
 */
const TILE_ROWS = 6

/** A sequence of local attention: rows of queries, keys and values before rotation. */
interface Sequence {
  readonly heads: number
  readonly width: number
  readonly headStride: number
  readonly window: number
  readonly queries: readonly Float32Array[]
  readonly keys: readonly Float32Array[]
  readonly values: readonly Float32Array[]
}

function sequenceOf(length: number, width: number, window: number, heads = 2): Sequence {
  const { normal } = createRandom(length + 100 * width + window)
  const headStride = roundUpTo8(width)
  const rows = () => headRows(length, heads, width, headStride, normal)
  return { heads, width, headStride, window, queries: rows(), keys: rows(), values: rows() }
}

const tables = new Map<string, Float32Array>()

/** One row of a rotary table: [cos: width][sin: width] of a position, float32. */
function angles(position: number, width: number): Float32Array {
  const key = `${position} ${width}`
  let table = tables.get(key)
  if (!table) {
    const angle = (j: number) => position * 10000 ** ((-2 * (j % (width / 2))) / width)
    table = Float32Array.from({ length: 2 * width }, (_, j) => (j < width ? Math.cos(angle(j)) : Math.sin(angle(j - width))))
    tables.set(key, table)
  }
  return table
}

/** Each head of a row turned by its position's angles, each operation rounded. */
function turned(row: Float32Array, position: number, { heads, width, headStride }: Sequence): Float32Array {
  const table = angles(position, width)
  const half = width / 2
  const out = row.slice()
  for (let at = 0; at < heads * headStride; at += headStride) {
    for (let j = 0; j < half; j++) {
      const [a, b, cos, sin] = [row[at + j]!, row[at + half + j]!, table[j]!, table[width + j]!]
      out[at + j] = fround(fround(a * cos) - fround(b * sin))
      out[at + half + j] = fround(fround(b * cos) + fround(a * sin))
    }
  }
  return out
}

interface Chunks {
  /** Lengths, in order. */
  readonly lengths: readonly number[]
  /**
   * When the front of the buffers is dropped: 'seldom' only when a chunk does not fit, else as soon as no row needs it.
   */
  readonly drops: 'seldom' | 'always'
  readonly capacity?: number
  readonly misalignment?: number
  /** Floats between rows beyond what they need. */
  readonly gap?: number
  /** Rows at the front of each chunk whose outputs are not requested. */
  readonly skipped?: number
}

/**
 * The outputs of the requested rows, and the rows of keys and values that the buffers hold in the end.
 */
function attendInChunks(runtime: Runtime, sequence: Sequence, pieces: Chunks) {
  const { heads, width, headStride, window } = sequence
  const { lengths, drops, misalignment, gap = 0, skipped } = pieces
  const inner = heads * headStride
  const stride = 3 * inner + gap
  const outputStride = inner + gap
  const most = Math.max(...lengths)
  const { partitions } = runtime.device
  const capacity = pieces.capacity ?? roundUpTo8(window + 7 + most)
  const scoreStride = roundUpTo8(window + TILE_ROWS + 14)

  const out: Float32Array[] = []
  const empty = (): Float32Array => new Float32Array(inner * capacity).fill(NaN)
  let buffers = { keys: empty(), values: empty() }
  let position = 0
  let base = 0
  for (const rows of lengths) {
    const crowded = position - base + rows > capacity
    const next = crowded || drops === 'always' ? Math.max(base, Math.floor(Math.max(0, position - window) / 8) * 8) : base
    const chunk = {
      [DispatchHeader.Rows]: rows,
      [DispatchHeader.LocalIndex]: position - next,
      [DispatchHeader.LocalDrop]: next - base,
    }
    const memory = new OpMemory(misalignment)
    const projected = new Float32Array(rows * stride).fill(NaN)
    for (const row of range(rows)) {
      const parts = [sequence.queries, sequence.keys, sequence.values]
      parts.forEach((part, i) => projected.set(part[position + row]!, row * stride + i * inner))
    }
    const headPairs = range(2 * heads).map((head) => ({ first: head * headStride, rows, width, stride }))
    const queries = memory.inputOutput(projected, headPairs)
    const keys = memory.inputOutput(buffers.keys)
    const values = memory.inputOutput(buffers.values)
    memory.run(
      runtime,
      Opcode.LocalStore,
      {
        projected: queries,
        table: memory.input(Float32Array.from(range(rows).flatMap((row) => [...angles(position + row, width)]))),
        keys,
        values,
        stride,
        heads,
        headWidth: width,
        headStride,
        capacity,
      },
      chunk,
    )
    buffers = { keys: memory.floats(keys), values: memory.floats(values) }

    const attending = new OpMemory(misalignment)
    const scores = attending.output(partitions * (scoreStride * TILE_ROWS + 8))
    const first = Math.min(skipped ?? 0, rows)
    const asked = rows - first
    const output = attending.output(asked * outputStride, [{ rows: asked, width: inner, stride: outputStride }])
    attending.run(
      runtime,
      Opcode.Attention,
      {
        rows: attending.count(asked),
        first: skipped === undefined ? undefined : attending.count(first),
        end: attending.count(chunk[DispatchHeader.LocalIndex]),
        queries: attending.input(memory.floats(queries)),
        keys: attending.input(buffers.keys),
        values: attending.input(buffers.values),
        output,
        scores,
        queryStride: stride,
        outputStride,
        heads,
        headWidth: width,
        headStride,
        capacity,
        window: window + 1,
        advance: 1,
        scoreStride,
        scale: 1 / Math.sqrt(width),
      },
      chunk,
    )
    if (heads * Math.ceil(asked / TILE_ROWS) >= partitions) expectOwnMemory(attending.ints(scores), partitions)
    for (const row of range(asked)) out.push(attending.floats(output).slice(row * outputStride, row * outputStride + inner))
    position += rows
    base = next
  }
  const stored = (index: typeof keyIndex, packed: Float32Array) =>
    unpackHeads(index, packed, heads, headStride, capacity, 0, position - base)
  return { out, base, keys: stored(keyIndex, buffers.keys), values: stored(valueIndex, buffers.values) }
}

/** The plain twin. */
function twin(sequence: Sequence): Float64Array[] {
  const queries = sequence.queries.map((row, position) => turned(row, position, sequence))
  const keys = sequence.keys.map((row, position) => turned(row, position, sequence))
  return queries.map((query, position) => {
    const first = Math.max(0, position - sequence.window)
    return attention(query, keys.slice(first, position + 1), sequence.values.slice(first, position + 1), sequence)
  })
}

/** Ways to cut 45 rows into chunks. */
function cuts(length: number): Record<string, Chunks> {
  const { uniform } = createRandom(length)
  const random: number[] = []
  for (let left = length; left > 0; left -= random.at(-1)) random.push(Math.min(left, 1 + Math.floor(uniform() * 11)))
  return {
    'in one chunk': { lengths: [length], drops: 'seldom' },
    'in one chunk of a far larger buffer': { lengths: [length], drops: 'seldom', capacity: 200 },
    'row by row': { lengths: Array<number>(length).fill(1), drops: 'seldom' },
    'row by row, dropping what it can': { lengths: Array<number>(length).fill(1), drops: 'always' },
    'in chunks of any length': { lengths: random, drops: 'seldom' },
    'in chunks of any length, dropping what it can': { lengths: random, drops: 'always' },
    'with chunks of no rows': { lengths: random.flatMap((rows) => [rows, 0]), drops: 'always' },
  }
}

const LENGTH = 45
const wholeChunk: Chunks = { lengths: [LENGTH], drops: 'seldom' }

function expectSameRows(actual: readonly Float32Array[], expected: readonly Float32Array[], about: string): void {
  expect(actual.length, about).toBe(expected.length)
  actual.forEach((row, i) => expectSameBits(row, expected[i]!, `row ${i} ${about}`))
}

describe.each(allBuilds)('local attention on the %s build', (build: BuildName) => {
  const runtime = runtimeOf(build)

  test.each(localWindows)('attends from every row to the %d keys before it and its own', (window) => {
    for (const width of headWidths) {
      for (const length of [1, 2, 7, LENGTH]) {
        const sequence = sequenceOf(length, width, window)
        const { out } = attendInChunks(runtime, sequence, { lengths: [length], drops: 'seldom' })
        const expected = twin(sequence)
        out.forEach((row, i) => expectClose(row, expected[i]!, { absolute: 3e-6 }, `row ${i} of ${length}, heads of ${width}`))
      }
    }
  })

  test('has the same bits, and keeps the same rotated keys and values, however the rows are split into chunks', () => {
    for (const [window, width] of [...localWindows.map((size) => [size, 10] as const), ...headWidths.map((size) => [5, size] as const)]) {
      const sequence = sequenceOf(LENGTH, width, window)
      const { out, keys, values } = attendInChunks(runtime, sequence, wholeChunk)
      const expectedKeys = sequence.keys.map((row, position) => turned(row, position, sequence))
      expectSameRows(keys, expectedKeys, 'of keys')
      expectSameRows(values, sequence.values, 'of values')
      for (const [name, pieces] of Object.entries(cuts(LENGTH))) {
        const about = `${name}, window ${window}, heads of ${width}`
        const cut = attendInChunks(runtime, sequence, pieces)
        expectSameRows(cut.out, out, about)
        expectSameRows(cut.keys, keys.slice(cut.base), about)
        expectSameRows(cut.values, values.slice(cut.base), about)
      }
    }
  })

  test('has the same bits in tiles of every shape', () => {
    const sequence = sequenceOf(LENGTH, 10, 37)
    const { out } = attendInChunks(runtime, sequence, wholeChunk)
    inEveryShape(runtime, (shape) => {
      for (const [name, pieces] of Object.entries(cuts(LENGTH))) {
        expectSameRows(attendInChunks(runtime, sequence, pieces).out, out, `${name}, ${shape}`)
      }
    })
  })

  test('has the same bits when only the last rows of a chunk are requested', () => {
    for (const window of localWindows) {
      const sequence = sequenceOf(LENGTH, 10, window)
      const { out } = attendInChunks(runtime, sequence, wholeChunk)
      for (const skipped of [0, 1, 7, 44, 45]) {
        expectSameRows(attendInChunks(runtime, sequence, { ...wholeChunk, skipped }).out, out.slice(skipped), `from row ${skipped} on`)
      }
      const lengths = [13, 13, 13, 6]
      const last = attendInChunks(runtime, sequence, { lengths, drops: 'always', skipped: 12 }).out
      expectSameRows(last, [out[12]!, out[25]!, out[38]!], 'of the last rows')
    }
  })

  test('has the same bits in any number of partitions, for any number of heads', () => {
    for (const heads of [1, 3]) {
      for (const [width, window] of [
        [10, 5],
        [16, 0],
        [6, 16],
      ] as const) {
        const sequence = sequenceOf(LENGTH, width, window, heads)
        const { out } = attendInChunks(runtime, sequence, wholeChunk)
        for (const partitions of partitionCounts) {
          for (const pieces of [wholeChunk, cuts(LENGTH)['in chunks of any length']!]) {
            expectSameRows(attendInChunks(runtimeOf(build, partitions), sequence, pieces).out, out, `in ${partitions} partitions`)
          }
        }
      }
    }
  })

  test('reads and writes only its rows where strides are wider, at any 4-byte alignment', () => {
    const sequence = sequenceOf(LENGTH, 10, 5)
    const { out } = attendInChunks(runtime, sequence, wholeChunk)
    for (const misalignment of misalignments) {
      expectSameRows(attendInChunks(runtime, sequence, { ...wholeChunk, misalignment, gap: 5 }).out, out, `${misalignment} bytes off`)
    }
  })

  test('is the same for scores so large that one key gets all the weight', () => {
    const sequence = sequenceOf(LENGTH, 16, 16)
    const large = { ...sequence, queries: sequence.queries.map((row) => row.map((x) => x * 1e4)) }
    const expected = twin(large)
    attendInChunks(runtime, large, wholeChunk).out.forEach((row, i) => expectClose(row, expected[i]!, { absolute: 2e-3 }, `row ${i}`))
  })

  test('survives NaN and infinities, which do not affect rows and heads that cannot see them', () => {
    const sequence = sequenceOf(LENGTH, 10, 5)
    const { out } = attendInChunks(runtime, sequence, wholeChunk)
    for (const value of [NaN, Infinity, -Infinity]) {
      for (const part of ['queries', 'keys', 'values'] as const) {
        const rows = sequence[part].map((row) => row.slice())
        rows[20]![3] = value
        const { headStride } = sequence
        for (const pieces of [cuts(LENGTH)['row by row']!, wholeChunk]) {
          const answer = attendInChunks(runtime, { ...sequence, [part]: rows }, pieces).out
          answer.forEach((row, i) => {
            expectSameBits(row.subarray(headStride), out[i]!.subarray(headStride), `${value} in ${part}: head 1 of row ${i}`)
            // rows of one tile meet the keys that only some of them see, with weight 0, which is NaN of a value that is
            // not finite
            const tile = pieces === wholeChunk ? TILE_ROWS : 0
            const sees = part === 'queries' ? i === 20 : i >= 20 - tile && i <= 25 + tile
            if (!sees) expectSameBits(row, out[i]!, `${value} in ${part}: row ${i}`)
          })
        }
      }
    }
  })
})

test.each(['checked-baseline', 'checked-relaxed'] as const)('the %s build fails an assertion for rows that exceed its buffers', (build) => {
  expect(() => attendInChunks(runtimeOf(build), sequenceOf(17, 8, 4), { ...wholeChunk, lengths: [17], capacity: 16 })).toThrow(
    'beyond their buffer',
  )
})
