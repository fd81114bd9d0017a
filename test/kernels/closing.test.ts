import { describe, expect, test } from 'vitest'
import { Opcode, Piece, SelectContext } from '../../assembly/steps.js'
import type { Runtime } from '../../src/device/runtime.js'
import { largest } from '../reference/index.js'
import { allBuilds } from '../support/runtimes.js'
import { integers, normals, range, roundUpTo8 } from './float32.js'
import { misalignments, runtimeOf, shareCounts, StepMemory } from './step-runner.js'

const HISTOGRAM_BYTES = 1024

/** A window that closes over a context. */
interface ClosingCase {
  /** [expert][window] */
  readonly window: readonly Float32Array[]
  /** [expert][before] */
  readonly context: readonly Float32Array[]
  readonly positions: readonly Int32Array[]
  readonly count: number
  readonly start: number
  readonly misalignment?: number
}

/** What an expert's context is afterwards. */
interface Closed {
  readonly similarities: number[]
  readonly positions: number[]
  readonly kept: number[]
  readonly newcomers: number[]
}

function selectContext(runtime: Runtime, options: ClosingCase, closes = true): Closed[] {
  const { window, context, positions, count, start, misalignment } = options
  const experts = window.length
  const before = context[0]!.length
  const rows = window[0]!.length
  const after = closes ? Math.min(count, before + rows) : 0
  const capacity = roundUpTo8(count + 1)
  const workWords = HISTOGRAM_BYTES / 4 + 2 * (capacity + rows)
  const memory = new StepMemory(misalignment)
  const places = [{ rows: experts, width: after, stride: capacity }]
  const byExpert = <T extends Float32Array | Int32Array>(out: T, values: readonly T[]): T => {
    values.forEach((ofExpert, r) => out.set(ofExpert, r * capacity))
    return out
  }
  const contextSimilarities = memory.inputOutput(byExpert(new Float32Array(experts * capacity).fill(NaN), context), places)
  const contextPositions = memory.inputOutput(byExpert(new Int32Array(experts * capacity).fill(-7), positions), places)
  const kept = memory.output(experts * capacity, [{ rows: experts, width: closes ? before : 0, stride: capacity }])
  const newcomers = memory.output(experts * rows, [{ width: closes ? experts * rows : 0 }])
  const keptCounts = memory.output(experts)
  const newcomerCounts = memory.output(experts)
  const words = {
    [SelectContext.Similarities]: memory.input(Float32Array.from(window.flatMap((s) => [...s]))),
    [SelectContext.ContextSimilarities]: contextSimilarities,
    [SelectContext.ContextPositions]: contextPositions,
    [SelectContext.Kept]: kept,
    [SelectContext.KeptCounts]: keptCounts,
    [SelectContext.Newcomers]: newcomers,
    [SelectContext.NewcomerCounts]: newcomerCounts,
    [SelectContext.Candidates]: memory.output(experts * workWords),
    [SelectContext.Experts]: experts,
    [SelectContext.Count]: count,
    [SelectContext.ContextCapacity]: capacity,
    [SelectContext.Window]: rows,
    [SelectContext.WorkBytes]: workWords * 4,
  }
  const piece = { [Piece.Closes]: Number(closes), [Piece.ContextCount]: before, [Piece.WindowPosition]: start }
  memory.run(runtime, Opcode.SelectContext, SelectContext.Length, words, piece)
  return range(experts).map((r) => ({
    similarities: [...memory.floats(contextSimilarities).subarray(r * capacity, r * capacity + after)],
    positions: [...memory.ints(contextPositions).subarray(r * capacity, r * capacity + after)],
    kept: [...memory.ints(kept).subarray(r * capacity, r * capacity + memory.ints(keptCounts)[r]!)],
    newcomers: [...memory.ints(newcomers).subarray(r * rows, r * rows + memory.ints(newcomerCounts)[r]!)],
  }))
}

/** The plain twin: the largest of context and window, ties to the earlier. */
function closed({ window, context, positions, count, start }: ClosingCase): Closed[] {
  return window.map((ofWindow, r) => {
    const before = context[r]!.length
    const candidates = [...context[r]!, ...ofWindow]
    const chosen = largest(
      candidates,
      candidates.map(() => true),
      count,
    )
    return {
      similarities: chosen.map((i) => candidates[i]!),
      positions: chosen.map((i) => (i < before ? positions[r]![i]! : start + i - before)),
      kept: chosen.filter((i) => i < before),
      newcomers: chosen.filter((i) => i >= before).map((i) => i - before),
    }
  })
}

function closingCase(before: number, rows: number, count: number, similarity: (length: number, seed: number) => Float32Array): ClosingCase {
  const experts = range(3)
  return {
    window: experts.map((r) => similarity(rows, 10 * rows + r)),
    context: experts.map((r) => similarity(before, 10 * before + r + 5)),
    positions: experts.map((r) => Int32Array.from(range(before), (i) => 3 * i + r)),
    count,
    start: 1000,
  }
}

describe.each(allBuilds)('a closing window on the %s build', (build) => {
  const runtime = runtimeOf(build)
  const similarities = [
    normals,
    (length: number, seed: number) => Float32Array.from(integers(length, 5, seed), (i) => i - 2),
    (length: number) => new Float32Array(length).fill(-1.5),
    (length: number, seed: number) => normals(length, seed).map((x, i) => x * 10 ** (((i * 11) % 70) - 38)),
  ]

  test('gives the context its largest similarities, ties to the earlier', () => {
    for (const similarity of similarities) {
      for (const [before, rows, count] of [
        [0, 1, 1],
        [0, 7, 4],
        [0, 4, 9],
        [4, 7, 4],
        [3, 5, 9],
        [9, 1, 9],
        [9, 40, 9],
        [130, 128, 130],
      ] as const) {
        const options = closingCase(before, rows, count, similarity)
        expect(selectContext(runtime, options)).toEqual(closed(options))
        for (const shares of shareCounts) expect(selectContext(runtimeOf(build, shares), options)).toEqual(closed(options))
        for (const misalignment of misalignments) expect(selectContext(runtime, { ...options, misalignment })).toEqual(closed(options))
      }
    }
  })

  test('chooses the same at positions that no 32-bit integer holds', () => {
    const options = closingCase(4, 7, 4, normals)
    const chosen = ({ similarities, kept, newcomers }: Closed) => ({ similarities, kept, newcomers })
    expect(selectContext(runtime, { ...options, start: 2 ** 40 }).map(chosen)).toEqual(closed(options).map(chosen))
  })

  test('changes nothing before the piece that closes it', () => {
    const none = { similarities: [], positions: [], kept: [], newcomers: [] }
    expect(selectContext(runtime, closingCase(4, 7, 4, normals), false)).toEqual([none, none, none])
  })

  test('fills the context where similarities are NaN or infinite, and leaves other experts as ever', () => {
    const options = closingCase(4, 7, 4, normals)
    const expected = closed(options)
    options.window[1]!.set([NaN, Infinity, -Infinity, NaN, Infinity, NaN])
    const [first, second, third] = selectContext(runtime, options)
    expect([first, third]).toEqual([expected[0], expected[2]])
    expect(second!.kept.length + second!.newcomers.length).toBe(4)
    expect([...second!.positions].sort((a, b) => a - b)).toEqual(second!.positions)
  })
})
