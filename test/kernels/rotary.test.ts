import { describe, expect, test } from 'vitest'
import { BufferIndex, DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import type { Runtime } from '../../src/device/runtime.js'
import { at } from '../../src/program/operand.js'
import { allBuilds } from '../support/runtimes.js'
import { expectSameBits, integers, normals, range } from './float32.js'
import { int64Words } from './int64.js'
import { headWidths } from './op-cases.js'
import { misalignments, runtimeOf, partitionCounts, OpMemory } from './op-runner.js'

const { fround } = Math

/** Rows of [cos: width][sin: width]. */
interface TableCase {
  readonly rows: number
  readonly width: number
  readonly position?: number
  readonly indices?: Int32Array
  /** 64-bit, listed after one that must be ignored. */
  readonly positions?: readonly number[]
  readonly misalignment?: number
}

function frequenciesOf(width: number): Float64Array {
  return Float64Array.from({ length: width / 2 }, (_, j) => 10000 ** ((-2 * j) / width))
}

/**
 * The table of positions: `start` says whether the position is read from the dispatch header or from memory of its own.
 */
function positionTable(
  runtime: Runtime,
  { rows, width, position = 0, indices, positions, misalignment }: TableCase,
  start: 'header' | 'memory' = 'header',
) {
  const memory = new OpMemory(misalignment)
  const output = memory.output(rows * 2 * width)
  const fields = {
    rows: memory.count(rows),
    position: start === 'header' ? at(BufferIndex.DispatchHeader, DispatchHeader.Position * 4) : memory.input(Float64Array.of(position)),
    indices: indices && memory.input(indices),
    positions: positions && memory.input(int64Words([7, ...positions])),
    first: positions && memory.count(1),
    frequencies: memory.input(frequenciesOf(width)),
    output,
    width,
  }
  memory.run(runtime, Opcode.RotaryFromPositions, fields, start === 'header' ? { [DispatchHeader.Position]: position } : {})
  return memory.floats(output)
}

/** @param angles rows of `width`, by position */
function angleTable(runtime: Runtime, { rows, width, position = 0, indices, misalignment }: TableCase, angles: Float32Array) {
  const memory = new OpMemory(misalignment)
  const output = memory.output(rows * 2 * width)
  const fields = {
    rows: memory.count(rows),
    position: at(BufferIndex.DispatchHeader, DispatchHeader.Position * 4),
    indices: indices && memory.input(indices),
    angles: memory.input(angles),
    output,
    width,
  }
  memory.run(runtime, Opcode.RotaryFromAngles, fields, { [DispatchHeader.Position]: position })
  return memory.floats(output)
}

/** The plain twin: `Math.cos` and `Math.sin` reduce a float64 angle exactly, at any size. */
function tableOf(rows: number, width: number, angle: (row: number, column: number) => number): Float64Array {
  const out = new Float64Array(rows * 2 * width)
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < width; column++) {
      out[row * 2 * width + column] = Math.cos(angle(row, column))
      out[(row * 2 + 1) * width + column] = Math.sin(angle(row, column))
    }
  }
  return out
}

/** Fails where a float32 is not one of the two nearest to the exact value, or, next to 0, further than 1e-13 from it. */
function expectRounded(actual: Float32Array, exact: Float64Array, about: string): void {
  expect(actual.length).toBe(exact.length)
  exact.forEach((value, i) => {
    const spacing = 2 ** Math.max(Math.floor(Math.log2(Math.abs(value))) - 23, -149)
    if (Object.is(actual[i], value) || Math.abs(actual[i]! - value) <= spacing * 0.501 + 1e-13) return
    expect.fail(`${about}: value ${i} is ${actual[i]}, not ${value}`)
  })
}

const starts = [0, 10, 10_000_000, 2 ** 40]

describe.each(allBuilds)('rotary tables on the %s build', (build) => {
  const runtime = runtimeOf(build)

  test.each(starts)('hold the cosines and sines of the positions from %d on, rounded to float32', (position) => {
    for (const width of headWidths) {
      const frequencies = frequenciesOf(width)
      const exact = tableOf(20, width, (row, column) => (position + row) * frequencies[column % (width / 2)]!)
      expectRounded(positionTable(runtime, { rows: 20, width, position }), exact, `width ${width}`)
    }
  })

  test.each(starts)('depend on a position alone, not on where the rows from %d on begin', (position) => {
    const width = 10
    const whole = positionTable(runtime, { rows: 9, width, position })
    for (const row of range(9)) {
      const one = positionTable(runtime, { rows: 1, width, position: position + row, misalignment: 4 }, 'memory')
      expectSameBits(one, whole.subarray(row * 2 * width, (row + 1) * 2 * width))
    }
    if (position < 2 ** 31) {
      const indices = Int32Array.from([8, 0, 3, 3], (row) => position + row)
      const listed = positionTable(runtime, { rows: 4, width, indices })
      expectSameBits(listed, Float32Array.from([8, 0, 3, 3].flatMap((row) => [...whole.subarray(row * 2 * width, (row + 1) * 2 * width)])))
    }
    const positions = range(9).map((row) => position + row)
    expectSameBits(positionTable(runtime, { rows: 9, width, positions, misalignment: 4 }), whole)
    for (const misalignment of misalignments) expectSameBits(positionTable(runtime, { rows: 9, width, position, misalignment }), whole)
    for (const partitions of partitionCounts)
      expectSameBits(positionTable(runtimeOf(build, partitions), { rows: 9, width, position }), whole)
  })

  test('hold the cosines and sines of given angles of any size', () => {
    const rows = 40
    for (const width of [1, 2, 7, 24]) {
      const angles = normals((rows + 3) * width, width).map((x, i) => x * 10 ** (((i * 7) % 36) - 4))
      angles.set([0, -0, fround(Math.PI / 2), fround(-Math.PI), 1e8, -1e8, 100000008, 3.4e38, 1e-45].slice(0, width))
      const row = (index: number) => (_: number, column: number) => angles[index * width + column]!
      const exact = tableOf(rows, width, (i, column) => row(i + 3)(i, column))
      const table = angleTable(runtime, { rows, width, position: 3 }, angles)
      expectRounded(table, exact, `width ${width}`)
      const indices = integers(rows, rows, 1)
      const listed = tableOf(rows, width, (i, column) => row(indices[i]!)(i, column))
      expectRounded(angleTable(runtime, { rows, width, indices, misalignment: 12 }, angles), listed, `width ${width}`)
      for (const partitions of partitionCounts)
        expectSameBits(angleTable(runtimeOf(build, partitions), { rows, width, position: 3 }, angles), table)
    }
  })

  test('have the bits of an angle alone in every place of a row', () => {
    const angles = normals(64, 5).map((x, i) => x * 10 ** (((i * 7) % 36) - 4))
    const together = angleTable(runtime, { rows: 1, width: 64 }, angles)
    const alone = angleTable(runtime, { rows: 64, width: 1 }, angles)
    expectSameBits(together, Float32Array.from([...range(64).map((i) => alone[2 * i]!), ...range(64).map((i) => alone[2 * i + 1]!)]))
  })

  test('hold NaN for angles that are not finite', () => {
    const angles = Float32Array.of(NaN, Infinity, -Infinity, 0)
    const table = angleTable(runtime, { rows: 1, width: 4 }, angles)
    expect([...table]).toEqual([NaN, NaN, NaN, 1, NaN, NaN, NaN, 0])
    expect(positionTable(runtime, { rows: 1, width: 2, position: Infinity }).some(Number.isFinite)).toBe(false)
  })

  test('have nothing for no rows', () => {
    expect(positionTable(runtime, { rows: 0, width: 6 })).toHaveLength(0)
    expect(angleTable(runtime, { rows: 0, width: 6 }, new Float32Array(6))).toHaveLength(0)
  })
})

interface RotateCase {
  readonly rows: number
  readonly heads: number
  readonly width: number
  readonly headStride: number
  readonly stride: number
  readonly angleStride: number
  readonly tableWidth: number
  readonly values: Float32Array
  readonly table: Float32Array
  readonly indices?: Int32Array
  readonly misalignment?: number
}

function rotate(runtime: Runtime, options: RotateCase): Float32Array {
  const { rows, heads, width, headStride, stride, indices } = options
  const memory = new OpMemory(options.misalignment)
  const spans = range(heads).map((head) => ({ first: head * headStride, rows, width, stride }))
  const values = memory.inputOutput(options.values, spans)
  memory.run(runtime, Opcode.Rotate, {
    rows: memory.count(rows),
    values,
    table: memory.input(options.table),
    indices: indices && memory.input(indices),
    stride,
    heads,
    headWidth: width,
    headStride,
    angleStride: options.angleStride,
    tableWidth: options.tableWidth,
  })
  return memory.floats(values)
}

/** The plain twin: (a, b) → (a·cos - b·sin, b·cos + a·sin), each operation rounded, in either arithmetic. */
function rotated({ rows, heads, width, headStride, stride, angleStride, tableWidth, values, table, indices }: RotateCase): Float32Array {
  const out = values.slice()
  const half = width / 2
  for (let row = 0; row < rows; row++) {
    for (let head = 0; head < heads; head++) {
      const x = row * stride + head * headStride
      const cosine = (indices?.[row] ?? row) * 2 * tableWidth + head * angleStride
      const sine = cosine + tableWidth
      for (let j = 0; j < half; j++) {
        const [a, b] = [values[x + j]!, values[x + half + j]!]
        out[x + j] = fround(fround(a * table[cosine + j]!) - fround(b * table[sine + j]!))
        out[x + half + j] = fround(fround(b * table[cosine + half + j]!) + fround(a * table[sine + half + j]!))
      }
    }
  }
  return out
}

describe.each(allBuilds)('rotation on the %s build', (build) => {
  const runtime = runtimeOf(build)
  const cases: RotateCase[] = []
  for (const width of headWidths) {
    for (const [heads, shared] of [
      [1, true],
      [3, true],
      [3, false],
    ] as const) {
      const rows = 6
      const headStride = Math.ceil(width / 8) * 8
      const stride = heads * headStride + 8
      const tableWidth = shared ? width : heads * width
      cases.push({
        rows,
        heads,
        width,
        headStride,
        stride,
        tableWidth,
        angleStride: shared ? 0 : width,
        values: normals(rows * stride, width),
        table: normals(rows * 2 * tableWidth, heads),
      })
    }
  }

  test('turns each head by its angles and nothing else, every operation rounded by itself', () => {
    for (const options of cases) {
      for (const misalignment of misalignments) expectSameBits(rotate(runtime, { ...options, misalignment }), rotated(options))
      const indices = integers(options.rows, options.rows, 2)
      expectSameBits(rotate(runtime, { ...options, indices }), rotated({ ...options, indices }))
      expectSameBits(rotate(runtime, { ...options, rows: 0 }), options.values)
    }
  })

  test('has the same bits in any number of partitions', () => {
    for (const partitions of partitionCounts) {
      for (const options of cases) expectSameBits(rotate(runtimeOf(build, partitions), options), rotated(options))
    }
  })
})
