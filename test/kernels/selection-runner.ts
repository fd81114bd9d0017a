/** Runs the steps that select queries and key/values over a whole sequence. */
import { expect } from 'vitest'
import { Descent, Opcode, Piece, Selection, SelectKeyValues, SelectQueries } from '../../assembly/steps.js'
import type { Runtime } from '../../src/device/runtime.js'
import type { Selected, SelectionRule } from '../reference/index.js'
import { range } from './float32.js'
import { StepMemory } from './step-runner.js'

const HISTOGRAM_WORDS = 256

export interface SelectionCase {
  /** [expert][token] */
  readonly similarities: readonly Float32Array[]
  readonly windowSize: number
  readonly count: number
  readonly rule: SelectionRule
  readonly misalignment?: number
}

function descentWords(base: number, rule: SelectionRule) {
  return {
    [base + Descent.FetchRatio]: { double: rule.fetchKRatio },
    [base + Descent.Eps]: { double: rule.eps },
    [base + Descent.EpsInit]: { double: rule.epsInit },
    [base + Descent.EpsDecay]: { double: rule.epsDecay },
    [base + Descent.Iterations]: rule.nIters,
    [base + Descent.StraightThrough]: rule.straightThrough,
    [base + Descent.Selection]: rule.selection === 'top-k' ? Selection.TopK : Selection.CoordinateDescent,
  }
}

/** Rows of similarities, each followed by what a kernel may not take for one. */
function placeSimilarities(memory: StepMemory, similarities: readonly Float32Array[], capacity: number) {
  const all = new Float32Array(similarities.length * capacity).fill(NaN)
  similarities.forEach((s, expert) => all.set(s, expert * capacity))
  return memory.input(all)
}

/** What each expert takes of window `window`, by position in it. */
export function selectQueries(
  runtime: Runtime,
  { similarities, windowSize, count, rule, misalignment }: SelectionCase,
  window: number,
): Selected[][] {
  const experts = similarities.length
  const length = similarities[0]!.length
  const capacity = length + 5
  const start = window * windowSize
  const candidates = Math.min(windowSize, length - start)
  const workWords = HISTOGRAM_WORDS + 3 * windowSize + 8
  const memory = new StepMemory(misalignment)
  const writable = [{ first: start, rows: experts, width: candidates, stride: capacity }]
  const taken = memory.output(experts * capacity, writable)
  const scores = memory.output(experts * capacity, writable)
  const words = {
    [SelectQueries.Similarities]: placeSimilarities(memory, similarities, capacity),
    [SelectQueries.Taken]: taken,
    [SelectQueries.Scores]: scores,
    [SelectQueries.Work]: memory.output(experts * workWords),
    [SelectQueries.Experts]: experts,
    [SelectQueries.Count]: count,
    [SelectQueries.WindowSize]: windowSize,
    [SelectQueries.Capacity]: capacity,
    [SelectQueries.WorkBytes]: workWords * 4,
    ...descentWords(SelectQueries.Descent, rule),
  }
  memory.run(runtime, Opcode.SelectQueries, SelectQueries.Length, words, { [Piece.Window]: window, [Piece.SequenceRows]: length })
  const [flags, carried] = [memory.ints(taken), memory.floats(scores)]
  return range(experts).map((expert) => {
    const at = expert * capacity + start
    expect(flags.subarray(at, at + candidates).every((flag) => flag === 0 || flag === 1)).toBe(true)
    return range(candidates)
      .filter((index) => flags[at + index])
      .map((index) => ({ index, score: carried[at + index]! }))
  })
}

/** The key/values of each window from the second on, by expert, and every position that any window chose. */
export function selectKeyValues(runtime: Runtime, { similarities, windowSize, count, rule, misalignment }: SelectionCase) {
  const experts = similarities.length
  const length = similarities[0]!.length
  const capacity = length + 5
  const windows = Math.ceil(length / windowSize) - 1
  const past = windows * windowSize
  const listCapacity = Math.min(count, past)
  const workWords = HISTOGRAM_WORDS + Math.max(past, listCapacity + windowSize) + 8
  const memory = new StepMemory(misalignment)
  const blocks = range(windows).map((window) => {
    const width = Math.min(count, (window + 1) * windowSize)
    return { first: window * experts * listCapacity, rows: experts, width, stride: listCapacity }
  })
  const lists = memory.output(windows * experts * listCapacity, blocks)
  const scores = memory.output(windows * experts * listCapacity, blocks)
  const chosen = memory.inputOutput(new Int32Array(experts * capacity), [{ rows: experts, width: past, stride: capacity }])
  const words = {
    [SelectKeyValues.Similarities]: placeSimilarities(memory, similarities, capacity),
    [SelectKeyValues.Lists]: lists,
    [SelectKeyValues.Scores]: scores,
    [SelectKeyValues.Chosen]: chosen,
    [SelectKeyValues.Work]: memory.output(experts * workWords),
    [SelectKeyValues.Experts]: experts,
    [SelectKeyValues.Count]: count,
    [SelectKeyValues.WindowSize]: windowSize,
    [SelectKeyValues.Capacity]: capacity,
    [SelectKeyValues.ListCapacity]: listCapacity,
    [SelectKeyValues.WorkBytes]: workWords * 4,
    ...descentWords(SelectKeyValues.Descent, rule),
  }
  const selected = blocks.map(({ first, width }, i) => {
    memory.run(runtime, Opcode.SelectKeyValues, SelectKeyValues.Length, words, { [Piece.Window]: i + 1, [Piece.SequenceRows]: length })
    const [indices, carried] = [memory.ints(lists), memory.floats(scores)]
    return range(experts).map((expert) => {
      const at = first + expert * listCapacity
      return range(width).map((j): Selected => ({ index: indices[at + j]!, score: carried[at + j]! }))
    })
  })
  const flags = memory.ints(chosen)
  const marks = range(experts).map((expert) => range(length).filter((position) => flags[expert * capacity + position] === 1))
  return { selected, marks }
}
