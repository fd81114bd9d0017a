import { describe, expect, test } from 'vitest'
import { ListQueries, Opcode, Piece, RouteCausal } from '../../assembly/steps.js'
import type { Runtime } from '../../src/device/runtime.js'
import { selectCausally } from '../reference/index.js'
import { allBuilds } from '../support/runtimes.js'
import { integers, normals, range } from './float32.js'
import { misalignments, runtimeOf, shareCounts, StepMemory } from './step-runner.js'

/** Lists of a piece's queries as both steps write them. */
interface Lists {
  readonly counts: number[]
  readonly lists: number[][]
  readonly slots: number[][]
}

function readLists(counts: Int32Array, lists: Int32Array, slots: Int32Array, rows: number, rowCapacity: number): Lists {
  const experts = range(counts.length)
  return {
    counts: [...counts],
    lists: experts.map((r) => [...lists.subarray(r * rowCapacity, r * rowCapacity + counts[r]!)]),
    slots: experts.map((r) => [...slots.subarray(r * rowCapacity, r * rowCapacity + rows)]),
  }
}

/** The lists that follow from which rows each expert takes. */
function listsOf(taken: readonly (readonly number[])[], rows: number): Lists {
  const slots = taken.map((list) => range(rows).map((row) => list.indexOf(row)))
  return { counts: taken.map((list) => list.length), lists: taken.map((list) => [...list]), slots }
}

interface CausalCase {
  /** [expert][window] */
  readonly similarities: readonly Float32Array[]
  readonly count: number
  readonly offset: number
  readonly rows: number
  readonly routed?: boolean
  readonly misalignment?: number
}

function routeCausal(runtime: Runtime, { similarities, count, offset, rows, routed = true, misalignment }: CausalCase): Lists {
  const experts = similarities.length
  const capacity = similarities[0]!.length + 3
  const rowCapacity = rows + 2
  const memory = new StepMemory(misalignment)
  const writable = [{ rows: experts, width: routed ? rows : 0, stride: rowCapacity }]
  const lists = memory.output(experts * rowCapacity, writable)
  const slots = memory.output(experts * rowCapacity, writable)
  const counts = memory.output(experts)
  const all = new Float32Array(experts * capacity).fill(NaN)
  similarities.forEach((s, r) => all.set(s, r * capacity))
  memory.run(
    runtime,
    Opcode.RouteCausal,
    RouteCausal.Length,
    {
      [RouteCausal.Similarities]: memory.input(all),
      [RouteCausal.Lists]: lists,
      [RouteCausal.Slots]: slots,
      [RouteCausal.Counts]: counts,
      [RouteCausal.Experts]: experts,
      [RouteCausal.Count]: count,
      [RouteCausal.Capacity]: capacity,
      [RouteCausal.RowCapacity]: rowCapacity,
    },
    { [Piece.Rows]: rows, [Piece.WindowOffset]: offset, [Piece.Routed]: Number(routed) },
  )
  return readLists(memory.ints(counts), memory.ints(lists), memory.ints(slots), routed ? rows : 0, rowCapacity)
}

describe.each(allBuilds)('causal routing on the %s build', (build) => {
  const runtime = runtimeOf(build)
  /** Few different values, so that ties abound. */
  const window = (length: number, seed: number) => Float32Array.from(integers(length, 9, seed))

  test('takes a token with fewer than the count of earlier ones at or above it, in pieces of any length', () => {
    for (const count of [1, 3, 8, 200]) {
      const similarities = [
        window(37, 1),
        normals(37, 2),
        Float32Array.from(range(37)),
        Float32Array.from(range(37), (i) => -i),
        new Float32Array(37),
      ]
      const expected = similarities.map((s) => selectCausally(s, count).map(({ index }) => index))
      for (const [offset, rows] of [
        [0, 37],
        [0, 1],
        [1, 7],
        [4, 4],
        [5, 20],
        [36, 1],
        [37, 0],
      ] as const) {
        const ofPiece = expected.map((list) => list.filter((t) => t >= offset && t < offset + rows).map((t) => t - offset))
        const options = { similarities, count, offset, rows }
        expect(routeCausal(runtime, options)).toEqual(listsOf(ofPiece, rows))
        for (const shares of shareCounts) expect(routeCausal(runtimeOf(build, shares), options)).toEqual(listsOf(ofPiece, rows))
        for (const misalignment of misalignments) expect(routeCausal(runtime, { ...options, misalignment })).toEqual(listsOf(ofPiece, rows))
      }
    }
  })

  test('takes nothing in a window that is not routed', () => {
    const options = { similarities: [window(9, 3), window(9, 4)], count: 4, offset: 2, rows: 5, routed: false }
    expect(routeCausal(runtime, options)).toEqual({ counts: [0, 0], lists: [[], []], slots: [[], []] })
  })

  test('ends with some answer where similarities are NaN or infinite', () => {
    const similarities = [window(20, 5), window(20, 6)]
    similarities[0]!.set([NaN, Infinity, -Infinity, NaN, Infinity], 4)
    const { counts, lists, slots } = routeCausal(runtime, { similarities, count: 3, offset: 0, rows: 20 })
    expect({ counts, lists, slots }).toEqual(listsOf(lists, 20))
    expect(lists[1]).toEqual(selectCausally(similarities[1]!, 3).map(({ index }) => index))
  })
})

describe.each(allBuilds)('listing queries on the %s build', (build) => {
  const [experts, capacity, rowCapacity] = [3, 50, 12]
  const taken = integers(experts * capacity, 2, 7)
  const scores = normals(experts * capacity, 8)

  function listQueries(runtime: Runtime, position: number, rows: number, routed: boolean, misalignment = 0) {
    const memory = new StepMemory(misalignment)
    const writable = [{ rows: experts, width: routed ? rows : 0, stride: rowCapacity }]
    const lists = memory.output(experts * rowCapacity, writable)
    const slots = memory.output(experts * rowCapacity, writable)
    const listScores = memory.output(experts * rowCapacity, writable)
    const counts = memory.output(experts)
    const words = {
      [ListQueries.Taken]: memory.input(taken),
      [ListQueries.Scores]: memory.input(scores),
      [ListQueries.Lists]: lists,
      [ListQueries.Slots]: slots,
      [ListQueries.Counts]: counts,
      [ListQueries.ListScores]: listScores,
      [ListQueries.Experts]: experts,
      [ListQueries.Capacity]: capacity,
      [ListQueries.RowCapacity]: rowCapacity,
    }
    memory.run(runtime, Opcode.ListQueries, ListQueries.Length, words, {
      [Piece.Rows]: rows,
      [Piece.Routed]: Number(routed),
      [Piece.Position]: position,
    })
    const listed = readLists(memory.ints(counts), memory.ints(lists), memory.ints(slots), routed ? rows : 0, rowCapacity)
    const carried = listed.lists.map((list, r) => [...memory.floats(listScores).subarray(r * rowCapacity, r * rowCapacity + list.length)])
    return { ...listed, carried }
  }

  test('gives the rows of the piece that were taken, in order, with the scores they carry', () => {
    for (const [position, rows] of [
      [0, 12],
      [9, 1],
      [38, 12],
      [20, 0],
    ] as const) {
      const expected = range(experts).map((r) => range(rows).filter((row) => taken[r * capacity + position + row]))
      const carried = expected.map((list, r) => list.map((row) => scores[r * capacity + position + row]))
      for (const shares of [1, ...shareCounts]) {
        expect(listQueries(runtimeOf(build, shares), position, rows, true, 4)).toEqual({ ...listsOf(expected, rows), carried })
      }
    }
  })

  test('gives none in a window that is not routed', () => {
    const none = range(experts).map(() => [])
    expect(listQueries(runtimeOf(build), 3, 12, false)).toEqual({ counts: [0, 0, 0], lists: none, slots: none, carried: none })
  })
})
