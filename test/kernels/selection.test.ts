import { describe, expect, test } from 'vitest'
import type { Selected, SelectionRule } from '../reference/index.js'
import { allBuilds } from '../support/runtimes.js'
import { expectClose, range } from './float32.js'
import {
  expectedKeyValues,
  expectedQueries,
  type SelectedWindows,
  selectionRules,
  type SelectionCase,
  selectKeyValues,
  selectQueries,
} from './selection-runner.js'
import { scoreKinds, selectionSizes } from './op-cases.js'
import { expectOwnMemory, runtimeOf, partitionCounts } from './op-runner.js'

function expectSelected(
  actual: readonly Selected[],
  expected: readonly Selected[],
  routerScores: Float32Array,
  rule: SelectionRule,
  about: string,
): void {
  expect(
    actual.map(({ index }) => index),
    about,
  ).toEqual(expected.map(({ index }) => index))
  // c is rounded as float32s of the router scores' size are, and then divided by eps
  const size = Math.max(...routerScores.map(Math.abs), 1)
  const relative = rule.straightThrough ? 0 : (size * 5e-7) / rule.eps
  expectClose(
    actual.map(({ score }) => score),
    expected.map(({ score }) => score),
    { relative, absolute: relative * 1e-3 },
    about,
  )
}

function caseOf(kind: string, rule: SelectionRule, length: number, windowSize: number, count: number): SelectionCase {
  return { routerScores: range(3).map((expert) => scoreKinds[kind]!(length, 10 * length + expert)), windowSize, count, rule }
}

/** A case, and what the reference selects for windows 1, 2, … by each expert. */
interface Expectation {
  readonly about: string
  readonly options: SelectionCase
  readonly queries: (Selected[] | undefined)[][]
  readonly keyValues: (Selected[] | undefined)[][]
}

const expectations = new Map<SelectionRule, Expectation[]>()

/** Computed once for all builds. */
function expectationsOf(rule: SelectionRule): Expectation[] {
  const known = expectations.get(rule)
  if (known) return known
  const computed = Object.keys(scoreKinds).flatMap((kind) =>
    selectionSizes.map(([length, windowSize, count]): Expectation => {
      const options = caseOf(kind, rule, length, windowSize, count)
      return {
        about: `${kind}, ${length} tokens in windows of ${windowSize}, ${count} taken`,
        options,
        queries: expectedQueries(options),
        keyValues: expectedKeyValues(options),
      }
    }),
  )
  expectations.set(rule, computed)
  return computed
}

describe.each(allBuilds)('on the %s build', (build) => {
  const runtime = runtimeOf(build)

  describe.each(Object.keys(selectionRules))('%s', (name) => {
    const rule = selectionRules[name]!

    /** Compares window by window, expert by expert; next to nothing may be unclear. */
    function expectAll(
      actual: (options: SelectionCase) => SelectedWindows,
      expected: (expectation: Expectation) => Expectation['queries'],
    ): void {
      const rows = expectationsOf(rule).flatMap((expectation) => {
        const { options, about } = expectation
        const { windows } = actual(options)
        return expected(expectation).flatMap((experts, i) =>
          experts.map((selected, r) => {
            if (selected) expectSelected(windows[i]![r]!, selected, options.routerScores[r]!, rule, `window ${i + 1}, ${about}`)
            return selected
          }),
        )
      })
      expect(rows.filter((selected) => selected === undefined).length / rows.length).toBeLessThan(0.1)
    }

    test('selects the same queries of each window as the reference', () => {
      const all = (options: SelectionCase) => selectQueries(runtime, options)
      expectAll(all, ({ queries }) => queries)
    })

    test('selects the same key/values for each window as the reference', () => {
      const all = (options: SelectionCase) => selectKeyValues(runtime, options)
      expectAll(all, ({ keyValues }) => keyValues)
    })

    test('marks every position that is a key/value of any window', () => {
      for (const { options } of expectationsOf(rule)) {
        const { windows, marks } = selectKeyValues(runtime, options)
        marks.forEach((positions, r) => {
          const union = new Set(windows.flatMap((experts) => experts[r]!.map(({ index }) => index)))
          expect(positions).toEqual([...union].sort((a, b) => a - b))
        })
      }
    })

    test('selects the same at any alignment, in any number of partitions, and however many windows are handled at once', () => {
      const options = caseOf('narrow', rule, 45, 5, 3)
      const queries = selectQueries(runtime, options).windows
      const { windows, marks } = selectKeyValues(runtime, options)
      const check = (partitions: number, misalignment: number, batches: number[]) => {
        const ofPartitions = runtimeOf(build, partitions)
        const selectedQueries = selectQueries(ofPartitions, { ...options, misalignment }, batches)
        const selectedKeyValues = selectKeyValues(ofPartitions, { ...options, misalignment }, batches)
        expect(selectedQueries.windows).toEqual(queries)
        expect(selectedKeyValues.windows).toEqual(windows)
        expect(selectedKeyValues.marks).toEqual(marks)
        return [selectedQueries.work, selectedKeyValues.work] as const
      }
      check(1, 4, [8])
      check(1, 0, [1, 1, 1, 1, 1, 1, 1, 1])
      check(3, 0, [1, 0, 5, 2])
      for (const partitions of partitionCounts) {
        const [queryWork, keyValueWork] = check(partitions, 0, [8])
        expectOwnMemory(queryWork, partitions)
        // a growing choice goes from window to window: an expert is one partition's
        const busy = rule.selection === 'top-k' && rule.straightThrough ? Math.min(partitions, 3) : partitions
        expectOwnMemory(keyValueWork.subarray(0, (busy * keyValueWork.length) / partitions), busy)
      }
    })

    test('selects as many as requested if router scores are NaN or infinite, and leaves other experts unaffected', () => {
      const options = caseOf('narrow', rule, 45, 9, 4)
      const queries = selectQueries(runtime, options).windows
      const keyValues = selectKeyValues(runtime, options).windows
      for (const values of [
        [NaN],
        [Infinity],
        [-Infinity],
        [NaN, Infinity, -Infinity, NaN],
        Array<number>(45).fill(NaN),
        Array<number>(45).fill(-Infinity),
      ]) {
        const routerScores = options.routerScores.map((s) => s.slice())
        routerScores[1]!.set(values, values.length < 45 ? 20 : 0)
        const strange = { ...options, routerScores }
        selectQueries(runtime, strange).windows.forEach((experts, i) => {
          expect([experts[0], experts[2]]).toEqual([queries[i]![0], queries[i]![2]])
          expect(experts[1]).toHaveLength(4)
        })
        selectKeyValues(runtime, strange).windows.forEach((experts, i) => {
          expect([experts[0], experts[2]]).toEqual([keyValues[i]![0], keyValues[i]![2]])
          const indices = experts[1]!.map(({ index }) => index)
          expect(new Set(indices).size).toBe(4)
          expect(indices.every((index, j) => index >= (indices[j - 1] ?? 0) && index < (i + 1) * 9)).toBe(true)
        })
      }
    })
  })
})
