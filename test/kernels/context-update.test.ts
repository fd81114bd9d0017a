import { describe, expect, test } from 'vitest'
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Opcode } from '../../assembly/ir/ops.js'
import type { Runtime } from '../../src/device/runtime.js'
import { largest } from '../reference/index.js'
import { allBuilds } from '../support/runtimes.js'
import { normals, range, roundUpTo8 } from './float32.js'
import { int64Values, int64Words } from './int64.js'
import { causalScoreKinds, contextSelections } from './op-cases.js'
import { misalignments, runtimeOf, partitionCounts, OpMemory } from './op-runner.js'

const HISTOGRAM_BYTES = 1024

/** A window that closes over a context. */
interface ContextUpdateCase {
  /** [expert][window] */
  readonly window: readonly Float32Array[]
  /** [expert][before] */
  readonly context: readonly Float32Array[]
  readonly positions: readonly number[][]
  readonly count: number
  readonly start: number
  readonly misalignment?: number
}

/** What an expert's context is afterwards. */
interface Closed {
  readonly routerScores: number[]
  readonly positions: number[]
  readonly retained: number[]
  readonly admitted: number[]
}

function selectContext(runtime: Runtime, options: ContextUpdateCase, closes = true): Closed[] {
  const { window, context, positions, count, start, misalignment } = options
  const experts = window.length
  const before = context[0]!.length
  const rows = window[0]!.length
  const after = closes ? Math.min(count, before + rows) : 0
  const capacity = roundUpTo8(count + 1)
  const workWords = HISTOGRAM_BYTES / 4 + 2 * (capacity + rows)
  const memory = new OpMemory(misalignment)
  const places = [{ rows: experts, width: after, stride: capacity }]
  const byExpert = <T extends Float32Array | number[]>(out: T, values: readonly T[]): T => {
    values.forEach((ofExpert, r) => ofExpert.forEach((value, i) => (out[r * capacity + i] = value)))
    return out
  }
  const contextRouterScores = memory.inputOutput(byExpert(new Float32Array(experts * capacity).fill(NaN), context), places)
  const contextPositions = memory.inputOutput(
    int64Words(byExpert(Array<number>(experts * capacity).fill(-7), positions)),
    places.map((place) => ({ ...place, width: 2 * after, stride: 2 * capacity })),
  )
  const retained = memory.output(experts * capacity, [{ rows: experts, width: closes ? before : 0, stride: capacity }])
  const admitted = memory.output(experts * rows, [{ width: closes ? experts * rows : 0 }])
  const retainedCounts = memory.output(experts)
  const admittedCounts = memory.output(experts)
  const fields = {
    routerScores: memory.input(Float32Array.from(window.flatMap((s) => [...s]))),
    contextRouterScores,
    contextPositions,
    retained,
    retainedCounts,
    admitted,
    admittedCounts,
    candidates: memory.output(experts * workWords),
    experts,
    count,
    contextCapacity: capacity,
    window: rows,
    workBytes: workWords * 4,
  }
  const chunk = {
    [DispatchHeader.ClosingRows]: closes ? rows : 0,
    [DispatchHeader.ClosingContextCount]: before,
    [DispatchHeader.ClosingPosition]: start,
  }
  memory.run(runtime, Opcode.SelectContext, fields, chunk)
  return range(experts).map((r) => ({
    routerScores: [...memory.floats(contextRouterScores).subarray(r * capacity, r * capacity + after)],
    positions: int64Values(memory.ints(contextPositions)).slice(r * capacity, r * capacity + after),
    retained: [...memory.ints(retained).subarray(r * capacity, r * capacity + memory.ints(retainedCounts)[r]!)],
    admitted: [...memory.ints(admitted).subarray(r * rows, r * rows + memory.ints(admittedCounts)[r]!)],
  }))
}

/** The plain twin: the largest of context and window, ties to the earlier. */
function closed({ window, context, positions, count, start }: ContextUpdateCase): Closed[] {
  return window.map((ofWindow, r) => {
    const before = context[r]!.length
    const candidates = [...context[r]!, ...ofWindow]
    const chosen = largest(
      candidates,
      candidates.map(() => true),
      count,
    )
    return {
      routerScores: chosen.map((i) => candidates[i]!),
      positions: chosen.map((i) => (i < before ? positions[r]![i]! : start + i - before)),
      retained: chosen.filter((i) => i < before),
      admitted: chosen.filter((i) => i >= before).map((i) => i - before),
    }
  })
}

function contextUpdateCase(
  before: number,
  rows: number,
  count: number,
  draw: (length: number, seed: number) => Float32Array,
): ContextUpdateCase {
  const experts = range(3)
  return {
    window: experts.map((r) => draw(rows, 10 * rows + r)),
    context: experts.map((r) => draw(before, 10 * before + r + 5)),
    positions: experts.map((r) => range(before).map((i) => 3 * i + r)),
    count,
    start: 1000,
  }
}

describe.each(allBuilds)('a closing window on the %s build', (build) => {
  const runtime = runtimeOf(build)
  test('gives the context the tokens with the largest router scores, ties to the earlier one', () => {
    for (const draw of Object.values(causalScoreKinds)) {
      for (const [before, rows, count] of contextSelections) {
        const options = contextUpdateCase(before, rows, count, draw)
        const expected = closed(options)
        expect(selectContext(runtime, options)).toEqual(expected)
        if (rows > 128) continue
        for (const partitions of partitionCounts) expect(selectContext(runtimeOf(build, partitions), options)).toEqual(expected)
        for (const misalignment of misalignments) expect(selectContext(runtime, { ...options, misalignment })).toEqual(expected)
      }
    }
  })

  test('chooses the same at positions beyond 32-bit integers', () => {
    const options = contextUpdateCase(4, 7, 4, normals)
    for (const start of [2 ** 32 - 3, 2 ** 40, Number.MAX_SAFE_INTEGER - 20]) {
      const far = { ...options, start, positions: options.positions.map((known) => known.map((position) => start - 20 + position)) }
      expect(selectContext(runtime, far)).toEqual(closed(far))
    }
  })

  test('changes nothing before the chunk that closes it', () => {
    const none = { routerScores: [], positions: [], retained: [], admitted: [] }
    expect(selectContext(runtime, contextUpdateCase(4, 7, 4, normals), false)).toEqual([none, none, none])
  })

  test('fills the context where router scores are NaN or infinite, and leaves other experts unaffected', () => {
    const options = contextUpdateCase(4, 7, 4, normals)
    const expected = closed(options)
    options.window[1]!.set([NaN, Infinity, -Infinity, NaN, Infinity, NaN])
    const [first, second, third] = selectContext(runtime, options)
    expect([first, third]).toEqual([expected[0], expected[2]])
    expect(second!.retained.length + second!.admitted.length).toBe(4)
    expect([...second!.positions].sort((a, b) => a - b)).toEqual(second!.positions)
  })
})
