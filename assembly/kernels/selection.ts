import { exp2Lanes, LOG2_E } from '../math'
import { floats, operand, word } from '../operands'
import { isStopped, partitionStart } from '../parallel'
import { DispatchHeader } from '../ir/header'
import { AssignSlots, Descent, SelectKeyValues, SelectQueries } from '../ir/ops'
import { HISTOGRAM_BYTES } from '../ir/sizes'
import { SelectionAlgorithm } from '../ir/values'
import { largestOf, sumOfExponentials } from './log-sum-exp'

/** A float's bits, rearranged so that unsigned order equals float order. Router scores are never -0. */
// @ts-ignore: decorator
@inline
function orderedKey(address: usize): u32 {
  const bits = load<u32>(address)
  return bits ^ ((<u32>((<i32>bits) >> 31)) | 0x80000000)
}

/**
 * Ascending indices of the `k` largest of `n` values (all, if there are no more), ties to the lower index. Returns
 * their number. Nothing is sorted: four passes of a histogram find the k-th largest value byte by byte from the top,
 * and a last one takes the values above it and the first of those equal to it.
 */
export function takeLargest(values: usize, n: i32, k: i32, histogram: usize, indices: usize): i32 {
  let threshold: u32 = 0
  let equals = n
  if (k < n) {
    equals = k
    for (let shift = 24; shift >= 0; shift -= 8) {
      memory.fill(histogram, 0, <usize>HISTOGRAM_BYTES)
      countBytes(values, n, threshold, shift, histogram)
      let byte = 255
      for (; equals > load<i32>(histogram + floats(byte)); --byte) equals -= load<i32>(histogram + floats(byte))
      threshold |= (<u32>byte) << shift
    }
  }
  return takeAbove(values, n, threshold, equals, indices)
}

/** Counts the byte at `shift` of every key whose higher bytes equal the threshold's. */
function countBytes(values: usize, n: i32, threshold: u32, shift: i32, histogram: usize): void {
  const mask: u32 = shift == 24 ? 0 : (<u32>0xffffffff) << (shift + 8)
  for (let i = 0; i < n; ++i) {
    const key = orderedKey(values + floats(i))
    if ((key & mask) != threshold) continue
    const bin = histogram + floats((<i32>(key >> shift)) & 255)
    store<i32>(bin, load<i32>(bin) + 1)
  }
}

function takeAbove(values: usize, n: i32, threshold: u32, equals: i32, indices: usize): i32 {
  let count = 0
  for (let i = 0; i < n; ++i) {
    const key = orderedKey(values + floats(i))
    if (key < threshold) continue
    if (key == threshold && --equals < 0) continue
    store<i32>(indices + floats(count++), i)
  }
  return count
}

/** State that a descent carries between passes: two f64s at the start of a partition's working memory. */
enum Carried {
  A = 0,
  Eps = 8,
}

/**
 * Coordinate descent over one row (SPEC section 4): only the scalar a and eps are carried between passes, and a pass is
 * one logsumexp of min(s, -a). `n` router scores, all unmasked, of a row of `length`. Runs slice `slice` of `slices` of the
 * passes, after the preceding ones.
 */
function descend(header: usize, s: usize, n: i32, length: i32, k: i32, descent: usize, carried: usize, slice: i32, slices: i32): void {
  const floor = load<f64>(descent + (Descent.Eps << 2))
  const decay = load<f64>(descent + (Descent.EpsDecay << 2))
  const logK = NativeMath.log(min<f64>(<f64>k * load<f64>(descent + (Descent.FetchRatio << 2)), <f64>length))
  const largest = largestOf(s, n)
  let eps: f64
  let a: f64
  if (slice == 0) {
    eps = max<f64>(load<f64>(descent + (Descent.EpsInit << 2)), floor)
    a = eps * (logK - NativeMath.log(<f64>n))
    eps = max<f64>(eps * decay, floor)
  } else {
    a = load<f64>(carried + Carried.A)
    eps = load<f64>(carried + Carried.Eps)
  }
  // the first pass needs no router scores
  const passes = word(descent, Descent.Iterations) - 1
  for (let left = partitionStart(passes, slice + 1, slices) - partitionStart(passes, slice, slices); left > 0; --left) {
    if (isStopped(header)) return
    const cap = <f32>-a
    const top = min<f32>(largest, cap)
    a = eps * (logK - NativeMath.log(sumOfExponentials(s, n, cap, top, eps))) - <f64>top
    eps = max<f64>(eps * decay, floor)
  }
  store<f64>(carried + Carried.A, a)
  store<f64>(carried + Carried.Eps, eps)
}

/** c = min(s + a, 0), which is compared and, divided by eps, exponentiated. */
function relax(s: usize, n: i32, a: f32, c: usize): void {
  const shift = f32x4.splat(a)
  const zero = f32x4.splat(0)
  for (let i = 0; i < n; i += 4, s += 16, c += 16) v128.store(c, f32x4.add(f32x4.pmin(f32x4.add(v128.load(s), shift), zero), zero))
}

/** Scores of the chosen tokens: exp(min(s + a, 0) / eps). */
function scoresOf(s: usize, indices: usize, count: i32, a: f32, eps: f64, scores: usize): void {
  for (let i = 0; i < count; ++i) {
    const c = min<f32>(load<f32>(s + floats(load<i32>(indices + floats(i)))) + a, 0)
    store<f32>(scores + floats(i), f32x4.extract_lane(exp2Lanes(f32x4.splat(<f32>((<f64>c * LOG2_E) / eps))), 0))
  }
}

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
  const topK = word(descent, Descent.Selection) == SelectionAlgorithm.TopK
  const isLast = slice == slices - 1
  if (length <= k || (topK && straightThrough)) {
    if (!isLast) return -1
    const count = takeLargest(s, n, length <= k ? n : k, work, indices)
    fillOnes(scores, count)
    return count
  }
  descend(header, s, n, length, k, descent, work, slice, slices)
  if (!isLast) return -1
  const a = <f32>load<f64>(work + Carried.A)
  const eps = load<f64>(work + Carried.Eps)
  let values = s
  if (!topK) {
    values = work + <usize>HISTOGRAM_BYTES
    relax(s, n, a, values)
  }
  const count = takeLargest(values, n, k, work, indices)
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
  const count = takeLargest(values, retained + windowSize, k, work, list)
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
