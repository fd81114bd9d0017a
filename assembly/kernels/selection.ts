import { floats, operand, word } from '../operands'
import { DispatchHeader } from '../ir/header'
import { AssignSlots, Descent, SelectKeyValues, SelectQueries } from '../ir/ops'
import { HISTOGRAM_BYTES } from '../ir/sizes'
import { SelectionAlgorithm } from '../ir/values'
import { Carried, descend, relax, scoresOf } from './coordinate-descent'
import { topK } from './top-k'

function fillOnes(scores: usize, count: i32): void {
  for (let i = 0; i < count; ++i) store<f32>(scores + floats(i), 1)
}

/**
 * Chooses k of the `n` unmasked candidates of a row of `length`: ascending indices and carried scores. Returns their
 * number. `work` holds a histogram, then a row of values. Split into `slices` steps run in sequence with the same
 * `work`: the last one chooses, the others return -1.
 */
function choose(
  header: usize,
  s: usize,
  n: i32,
  length: i32,
  k: i32,
  descent: usize,
  work: usize,
  indices: usize,
  scores: usize,
  slice: i32,
  slices: i32,
): i32 {
  const straightThrough = word(descent, Descent.StraightThrough) != 0
  const isTopK = word(descent, Descent.Selection) == SelectionAlgorithm.TopK
  const isLast = slice == slices - 1
  if (length <= k || (isTopK && straightThrough)) {
    if (!isLast) return -1
    const count = topK(s, n, length <= k ? n : k, work, indices)
    fillOnes(scores, count)
    return count
  }
  descend(header, s, n, length, k, descent, work, slice, slices)
  if (!isLast) return -1
  const a = <f32>load<f64>(work + Carried.A)
  const eps = load<f64>(work + Carried.Eps)
  let values = s
  if (!isTopK) {
    values = work + <usize>HISTOGRAM_BYTES
    relax(s, n, a, values)
  }
  const count = topK(values, n, k, work, indices)
  if (straightThrough) fillOnes(scores, count)
  else scoresOf(s, indices, count, a, eps, scores)
  return count
}

/** `SelectQueries`: (window, expert) pairs are dealt out in turn. */
export function selectQueries(op: usize, header: usize, partition: i32, partitions: i32): void {
  const experts = word(op, SelectQueries.Experts)
  const first = word(header, DispatchHeader.Window)
  const end = word(header, DispatchHeader.Windows) * experts
  const work = operand(op, SelectQueries.Work, header) + <usize>partition * <usize>word(op, SelectQueries.WorkBytes)
  for (let pair = partition; pair < end; pair += partitions)
    selectWindowQueries(op, header, first + pair / experts, pair % experts, work, 0, 1)
}

/**
 * One of the slices that a single thread computes in sequence, in the first partition's working memory: each (window,
 * expert) pair has equally many, pair by pair.
 */
export function selectQueriesSlice(op: usize, header: usize, slice: i32, slices: i32): void {
  const experts = word(op, SelectQueries.Experts)
  const each = slices / (word(header, DispatchHeader.Windows) * experts)
  const pair = slice / each
  const window = word(header, DispatchHeader.Window) + pair / experts
  selectWindowQueries(op, header, window, pair % experts, operand(op, SelectQueries.Work, header), slice % each, each)
}

function selectWindowQueries(op: usize, header: usize, window: i32, expert: i32, work: usize, slice: i32, slices: i32): void {
  const windowSize = word(op, SelectQueries.WindowSize)
  const start = window * windowSize
  const candidates = min(windowSize, word(header, DispatchHeader.SequenceRows) - start)
  const offset = floats(expert * word(op, SelectQueries.Capacity) + start)
  const indices = work + <usize>HISTOGRAM_BYTES + floats(candidates + 3)
  const scores = indices + floats(candidates)
  const s = operand(op, SelectQueries.RouterScores, header) + offset
  const descent = op + (SelectQueries.Descent << 2)
  const count = choose(header, s, candidates, windowSize, word(op, SelectQueries.Count), descent, work, indices, scores, slice, slices)
  if (count < 0) return
  const mask = operand(op, SelectQueries.QueryMask, header) + offset
  const carried = operand(op, SelectQueries.Scores, header) + offset
  memory.fill(mask, 0, floats(candidates))
  for (let i = 0; i < count; ++i) {
    const at = floats(load<i32>(indices + floats(i)))
    store<i32>(mask + at, 1)
    store<f32>(carried + at, load<f32>(scores + floats(i)))
  }
}

/**
 * The k largest of a growing set: tokens that drop out never return, so window j chooses among the choice of window j -
 * 1 and its own tokens, in time independent of the sequence's length.
 */
function chooseGrowing(s: usize, window: i32, windowSize: i32, k: i32, work: usize, previous: usize, list: usize): void {
  const retained = min(k, (window - 1) * windowSize)
  const values = work + <usize>HISTOGRAM_BYTES
  for (let i = 0; i < retained; ++i) store<f32>(values + floats(i), load<f32>(s + floats(load<i32>(previous + floats(i)))))
  const start = (window - 1) * windowSize
  memory.copy(values + floats(retained), s + floats(start), floats(windowSize))
  const count = topK(values, retained + windowSize, k, work, list)
  for (let i = 0; i < count; ++i) {
    const index = load<i32>(list + floats(i))
    store<i32>(list + floats(i), index < retained ? load<i32>(previous + floats(index)) : start + index - retained)
  }
}

/**
 * `SelectKeyValues`: (window, expert) pairs are dealt out in turn, or only experts, if each window's choice starts from
 * the previous one's. Two threads may mark the same token; they write the same word.
 */
export function selectKeyValues(op: usize, header: usize, partition: i32, partitions: i32): void {
  const experts = word(op, SelectKeyValues.Experts)
  const first = word(header, DispatchHeader.Window)
  const windows = word(header, DispatchHeader.Windows)
  const work = operand(op, SelectKeyValues.Work, header) + <usize>partition * <usize>word(op, SelectKeyValues.WorkBytes)
  if (isGrowing(op)) {
    for (let expert = partition; expert < experts; expert += partitions) {
      for (let i = 0; i < windows; ++i) selectWindowKeyValues(op, header, first + i, expert, work, 0, 1)
    }
    return
  }
  const end = windows * experts
  for (let pair = partition; pair < end; pair += partitions)
    selectWindowKeyValues(op, header, first + pair / experts, pair % experts, work, 0, 1)
}

/** See `selectQueriesSlice`. */
export function selectKeyValuesSlice(op: usize, header: usize, slice: i32, slices: i32): void {
  const experts = word(op, SelectKeyValues.Experts)
  const each = slices / (word(header, DispatchHeader.Windows) * experts)
  const pair = slice / each
  const window = word(header, DispatchHeader.Window) + pair / experts
  selectWindowKeyValues(op, header, window, pair % experts, operand(op, SelectKeyValues.Work, header), slice % each, each)
}

/** Whether a window's choice starts from that of the previous window. */
function isGrowing(op: usize): bool {
  const descent = op + (SelectKeyValues.Descent << 2)
  return word(descent, Descent.Selection) == SelectionAlgorithm.TopK && word(descent, Descent.StraightThrough) != 0
}

function selectWindowKeyValues(op: usize, header: usize, window: i32, expert: i32, work: usize, slice: i32, slices: i32): void {
  const experts = word(op, SelectKeyValues.Experts)
  const windowSize = word(op, SelectKeyValues.WindowSize)
  const capacity = word(op, SelectKeyValues.Capacity)
  const listCapacity = word(op, SelectKeyValues.ListCapacity)
  const k = word(op, SelectKeyValues.Count)
  const candidates = window * windowSize
  // the row is as long as for the last window: the tokens this window does not see are masked, but count
  const length = ((word(header, DispatchHeader.SequenceRows) - 1) / windowSize) * windowSize
  const s = operand(op, SelectKeyValues.RouterScores, header) + floats(expert * capacity)
  const offset = floats(((window - 1) * experts + expert) * listCapacity)
  const list = operand(op, SelectKeyValues.Lists, header) + offset
  const scores = operand(op, SelectKeyValues.Scores, header) + offset
  const count = min(k, candidates)
  if (isGrowing(op)) {
    if (slice < slices - 1) return
    chooseGrowing(s, window, windowSize, k, work, list - floats(experts * listCapacity), list)
    fillOnes(scores, count)
  } else {
    const descent = op + (SelectKeyValues.Descent << 2)
    if (choose(header, s, candidates, length, k, descent, work, list, scores, slice, slices) < 0) return
  }
  const mask = operand(op, SelectKeyValues.KeyValueMask, header) + floats(expert * capacity)
  for (let i = 0; i < count; ++i) store<i32>(mask + floats(load<i32>(list + floats(i))), 1)
}

/** `AssignSlots`: numbering continues from expert to expert, so one partition does it. */
export function assignSlots(op: usize, header: usize, partition: i32, partitions: i32): void {
  if (partition != 0) return
  const experts = word(op, AssignSlots.Experts)
  const capacity = word(op, AssignSlots.Capacity)
  const positions = operand(op, AssignSlots.Positions, header)
  const counts = operand(op, AssignSlots.Counts, header)
  const length = word(header, DispatchHeader.SequenceRows)
  const stride = word(op, AssignSlots.Stride)
  let slot = 0
  for (let expert = 0; expert < experts; ++expert) {
    if (stride > 0) slot = expert * stride
    const slots = operand(op, AssignSlots.Slots, header) + floats(expert * capacity)
    const first = slot
    for (let position = 0; position < length; ++position) {
      const at = slots + floats(position)
      if (load<i32>(at) == 0) {
        store<i32>(at, -1)
        continue
      }
      store<i32>(positions + floats(slot), position)
      store<i32>(at, slot++)
    }
    store<i32>(counts + floats(expert), slot - first)
  }
}
