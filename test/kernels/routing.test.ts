import { describe, expect, test } from 'vitest'
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import type { Runtime } from '../../src/device/runtime.js'
import { REQUESTED_ROWS, rangeWords } from '../../src/plan/ops/operands.js'
import { selectCausally } from '../reference/index.js'
import { allBuilds } from '../support/runtimes.js'
import { integers, normals, range } from './float32.js'
import { listCases, listed, listQueriesOp, readLists } from './list-queries-op.js'
import { causalRoutings, causalScoreKinds } from './op-cases.js'
import { misalignments, runtimeOf, partitionCounts, OpMemory } from './op-runner.js'

/** Lists of a chunk's queries. */
interface Lists {
  readonly counts: number[]
  readonly lists: number[][]
  readonly slots: number[][]
}

/** Some rows of a chunk. */
interface RequestedRange {
  readonly first: number
  readonly rows: number
}

/** Where an op reads which they are. */
const { rows: requestedRows, first: requestedFirst } = rangeWords(REQUESTED_ROWS)

function readCausalLists(
  counts: Int32Array,
  lists: Int32Array,
  slots: Int32Array,
  { first, rows }: RequestedRange,
  rowCapacity: number,
): Lists {
  const experts = range(counts.length)
  return {
    counts: [...counts],
    lists: experts.map((r) => [...lists.subarray(r * rowCapacity, r * rowCapacity + counts[r]!)]),
    slots: experts.map((r) => [...slots.subarray(r * rowCapacity + first, r * rowCapacity + first + rows)]),
  }
}

/** The lists that follow from which rows each expert takes; slots are those of `rows` rows from `first` on. */
function listsOf(taken: readonly (readonly number[])[], rows: number, first = 0): Lists {
  const slots = taken.map((list) => range(rows).map((row) => list.indexOf(first + row)))
  return { counts: taken.map((list) => list.length), lists: taken.map((list) => [...list]), slots }
}

interface CausalCase {
  /** [expert][window] */
  readonly routerScores: readonly Float32Array[]
  readonly count: number
  readonly offset: number
  readonly rows: number
  /** The rows whose outputs are requested; default: all. */
  readonly requested?: RequestedRange
  readonly routed?: boolean
  readonly misalignment?: number
}

function routeCausal(runtime: Runtime, options: CausalCase): Lists {
  const { routerScores, count, offset, rows, requested = { first: 0, rows }, routed = true, misalignment } = options
  const experts = routerScores.length
  const capacity = routerScores[0]!.length + 3
  const rowCapacity = rows + 2
  const memory = new OpMemory(misalignment)
  const writable = { rows: experts, width: routed ? requested.rows : 0, stride: rowCapacity }
  const lists = memory.output(experts * rowCapacity, [writable])
  const slots = memory.output(experts * rowCapacity, [{ ...writable, first: requested.first }])
  const counts = memory.output(experts)
  const all = new Float32Array(experts * capacity).fill(NaN)
  routerScores.forEach((s, r) => all.set(s, r * capacity))
  memory.run(
    runtime,
    Opcode.RouteCausal,
    {
      rows: requestedRows,
      first: requestedFirst,
      routerScores: memory.input(all),
      lists,
      slots,
      counts,
      experts,
      count,
      capacity,
      rowCapacity,
    },
    {
      [DispatchHeader.Rows]: rows,
      [DispatchHeader.RequestedFirst]: requested.first,
      [DispatchHeader.RequestedRows]: requested.rows,
      [DispatchHeader.WindowOffset]: offset,
      [DispatchHeader.Routed]: Number(routed),
    },
  )
  return readCausalLists(
    memory.ints(counts),
    memory.ints(lists),
    memory.ints(slots),
    routed ? requested : { first: 0, rows: 0 },
    rowCapacity,
  )
}

describe.each(allBuilds)('causal routing on the %s build', (build) => {
  const runtime = runtimeOf(build)
  /** Few different values, so that ties abound. */
  const window = (length: number, seed: number) => Float32Array.from(integers(length, 9, seed))

  test('selects a token if fewer than k earlier ones score at least as high, in chunks of any length', () => {
    for (const draw of Object.values(causalScoreKinds)) {
      for (const [length, count, offset, rows, routed] of causalRoutings) {
        if (routed === 0) continue
        const routerScores = range(3).map((r) => draw(length, r + 1))
        const expected = routerScores.map((s) =>
          selectCausally(s, count).flatMap(({ index: t }) => (t >= offset && t < offset + rows ? [t - offset] : [])),
        )
        const options = { routerScores, count, offset, rows }
        expect(routeCausal(runtime, options)).toEqual(listsOf(expected, rows))
        for (const partitions of partitionCounts)
          expect(routeCausal(runtimeOf(build, partitions), options)).toEqual(listsOf(expected, rows))
        for (const misalignment of misalignments)
          expect(routeCausal(runtime, { ...options, misalignment })).toEqual(listsOf(expected, rows))
      }
    }
  })

  test('decides only for the requested rows, by all earlier ones', () => {
    const routerScores = [window(37, 1), normals(37, 2)]
    const expected = routerScores.map((s) => selectCausally(s, 5).map(({ index }) => index - 3))
    for (const [first, rows] of [
      [0, 34],
      [33, 1],
      [10, 20],
      [7, 0],
    ] as const) {
      const ofRows = expected.map((list) => list.filter((row) => row >= first && row < first + rows))
      const options = { routerScores, count: 5, offset: 3, rows: 34, requested: { first, rows } }
      expect(routeCausal(runtime, options)).toEqual(listsOf(ofRows, rows, first))
    }
  })

  test('selects nothing in a window that is not routed', () => {
    const options = { routerScores: [window(9, 3), window(9, 4)], count: 4, offset: 2, rows: 5, routed: false }
    expect(routeCausal(runtime, options)).toEqual({ counts: [0, 0], lists: [[], []], slots: [[], []] })
  })

  test('terminates if router scores are NaN or infinite', () => {
    const routerScores = [window(20, 5), window(20, 6)]
    routerScores[0]!.set([NaN, Infinity, -Infinity, NaN, Infinity], 4)
    const { counts, lists, slots } = routeCausal(runtime, { routerScores, count: 3, offset: 0, rows: 20 })
    expect({ counts, lists, slots }).toEqual(listsOf(lists, 20))
    expect(lists[1]).toEqual(selectCausally(routerScores[1]!, 3).map(({ index }) => index))
  })
})

describe.each(allBuilds)('listing queries on the %s build', (build) => {
  test('lists the requested rows that were selected, in order, with their scores, and where each window begins', () => {
    for (const options of listCases) {
      for (const [i, partitions] of [1, ...partitionCounts].entries()) {
        const { memory, opcode, fields, chunk, regions } = listQueriesOp({
          ...options,
          misalignment: misalignments[i % misalignments.length]!,
        })
        memory.run(runtimeOf(build, partitions), opcode, fields, chunk)
        expect(readLists(options, memory, regions), JSON.stringify(options)).toEqual(listed(options))
      }
    }
  })
})
