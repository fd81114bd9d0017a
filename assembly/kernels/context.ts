import { count, floats, operand, word } from '../operands'
import { shareStart } from '../parallel'
import { GatherContext, HISTOGRAM_BYTES, NullContext, Piece, SelectContext, UpdateContext } from '../steps'
import { storeFourKeys, storeKey, storeValue } from './attention'
import { takeLargest } from './selection'

/*
 * An expert's context: the keys and values its queries see, by rank: the null pair first, then chosen tokens in ascending position. Newcomers are
 * later than everything kept, so a context that changes keeps its order by closing ranks and appending.
 */

/** `SelectContext`: experts are shared out. */
export function selectContext(step: usize, piece: usize, share: i32, shares: i32): void {
  const closes = word(piece, Piece.Closes) != 0
  const experts = word(step, SelectContext.Experts)
  const window = word(step, SelectContext.Window)
  const capacity = word(step, SelectContext.ContextCapacity)
  const before = word(piece, Piece.ContextCount)
  const start = <i32>load<f64>(piece + (Piece.WindowPosition << 2))
  const end = shareStart(experts, share + 1, shares)
  for (let expert = shareStart(experts, share, shares); expert < end; ++expert) {
    const keptCount = operand(step, SelectContext.KeptCounts, piece) + floats(expert)
    const newcomerCount = operand(step, SelectContext.NewcomerCounts, piece) + floats(expert)
    store<i32>(keptCount, 0)
    store<i32>(newcomerCount, 0)
    if (!closes) continue

    const similarities = operand(step, SelectContext.ContextSimilarities, piece) + floats(expert * capacity)
    const positions = operand(step, SelectContext.ContextPositions, piece) + floats(expert * capacity)
    const histogram = operand(step, SelectContext.Candidates, piece) + <usize>expert * <usize>word(step, SelectContext.WorkBytes)
    const candidates = histogram + <usize>HISTOGRAM_BYTES
    const chosen = candidates + floats(capacity + window)
    memory.copy(candidates, similarities, floats(before))
    memory.copy(candidates + floats(before), operand(step, SelectContext.Similarities, piece) + floats(expert * window), floats(window))
    const total = takeLargest(candidates, before + window, word(step, SelectContext.Count), histogram, chosen)

    const keptList = operand(step, SelectContext.Kept, piece) + floats(expert * capacity)
    const newList = operand(step, SelectContext.Newcomers, piece) + floats(expert * window)
    let kept = 0
    for (let i = 0; i < total; ++i) {
      const candidate = load<i32>(chosen + floats(i))
      store<f32>(similarities + floats(i), load<f32>(candidates + floats(candidate)))
      if (candidate < before) {
        store<i32>(keptList + floats(kept++), candidate)
        store<i32>(positions + floats(i), load<i32>(positions + floats(candidate)))
      } else {
        store<i32>(newList + floats(i - kept), candidate - before)
        store<i32>(positions + floats(i), start + candidate - before)
      }
    }
    store<i32>(keptCount, kept)
    store<i32>(newcomerCount, total - kept)
  }
}

/** `UpdateContext`: heads are shared out. */
export function updateContext(step: usize, piece: usize, share: i32, shares: i32): void {
  const newcomers = count(step, UpdateContext.NewcomerCount, piece)
  const kept = count(step, UpdateContext.KeptCount, piece)
  const keptList = operand(step, UpdateContext.Kept, piece)
  const projected = operand(step, UpdateContext.Projected, piece)
  const heads = word(step, UpdateContext.Heads)
  const headStride = word(step, UpdateContext.HeadStride)
  const capacity = word(step, UpdateContext.Capacity)
  const headSize = floats(headStride * capacity)
  const part = floats(heads * headStride)
  const end = shareStart(heads, share + 1, shares)
  for (let head = shareStart(heads, share, shares); head < end; ++head) {
    const keys = operand(step, UpdateContext.Keys, piece) + <usize>head * headSize
    const values = operand(step, UpdateContext.Values, piece) + <usize>head * headSize
    for (let i = 0; i < kept; ++i) moveRank(keys, values, load<i32>(keptList + floats(i)) + 1, i + 1, headStride, capacity)
    for (let i = 0; i < newcomers; ++i) {
      const key = projected + <usize>i * 2 * part + floats(head * headStride)
      storeKey(key, keys, kept + i + 1, headStride)
      storeValue(key + part, values, kept + i + 1, headStride, capacity)
    }
  }
}

function moveRank(keys: usize, values: usize, from: i32, to: i32, headStride: i32, capacity: i32): void {
  if (from == to) return
  let source = keys + floats((from >> 3) * headStride) * 8 + floats(from & 7)
  let target = keys + floats((to >> 3) * headStride) * 8 + floats(to & 7)
  for (let channel = 0; channel < headStride; ++channel, source += 32, target += 32) store<f32>(target, load<f32>(source))
  source = values + floats(from) * 8
  target = values + floats(to) * 8
  for (let channel = 0; channel < headStride; channel += 8, source += floats(capacity) * 8, target += floats(capacity) * 8) {
    v128.store(target, v128.load(source))
    v128.store(target, v128.load(source, 16), 16)
  }
}

/** `NullContext`: one share does it. */
export function nullContext(step: usize, piece: usize, share: i32, shares: i32): void {
  if (share != 0) return
  const pair = operand(step, NullContext.Null, piece)
  const heads = word(step, NullContext.Heads)
  const headStride = word(step, NullContext.HeadStride)
  const capacity = word(step, NullContext.Capacity)
  const keys = operand(step, NullContext.Keys, piece)
  const values = operand(step, NullContext.Values, piece)
  for (let head = 0; head < heads; ++head) {
    const offset = floats(head * headStride * capacity)
    const key = pair + floats(head * headStride)
    storeKey(key, keys + offset, 0, headStride)
    storeValue(key + floats(heads * headStride), values + offset, 0, headStride, capacity)
  }
}

/** `GatherContext`: heads are shared out. */
export function gatherContext(step: usize, piece: usize, share: i32, shares: i32): void {
  if (word(piece, Piece.Opens) == 0 || word(piece, Piece.Routed) == 0) return
  const windows = max(1, word(piece, Piece.Windows))
  const first = word(piece, Piece.Window)
  const ends = operand(step, GatherContext.Ends, piece)
  for (let z = first == 0 ? 1 : 0; z < windows; ++z) {
    const visible = ends ? load<i32>(ends + floats(z)) : word(piece, Piece.ContextCount)
    gatherWindow(step, piece, first + z, floats(z * word(step, GatherContext.GroupStride)), visible, share, shares)
  }
}

/** One window's context, `group` bytes behind the first one's. */
function gatherWindow(step: usize, piece: usize, window: i32, group: usize, visible: i32, share: i32, shares: i32): void {
  const expert = word(step, GatherContext.Expert)
  const offset = floats(((window - 1) * word(step, GatherContext.Experts) + expert) * word(step, GatherContext.ListCapacity))
  const list = operand(step, GatherContext.Lists, piece) + offset
  const scores = operand(step, GatherContext.Scores, piece) + offset
  const slots = operand(step, GatherContext.Slots, piece) + floats(expert * word(step, GatherContext.SequenceCapacity))
  const keyValues = operand(step, GatherContext.KeyValues, piece)
  const heads = word(step, GatherContext.Heads)
  const headStride = word(step, GatherContext.HeadStride)
  const capacity = word(step, GatherContext.Capacity)
  const headSize = floats(headStride * capacity)
  const part = floats(heads * headStride)
  const end = shareStart(heads, share + 1, shares)
  for (let head = shareStart(heads, share, shares); head < end; ++head) {
    const keys = operand(step, GatherContext.Keys, piece) + group + <usize>head * headSize
    const values = operand(step, GatherContext.Values, piece) + group + <usize>head * headSize
    const pair = operand(step, GatherContext.Null, piece) + floats(head * headStride)
    storeKey(pair, keys, 0, headStride)
    storeValue(pair + part, values, 0, headStride, capacity)
    const first = keyValues + floats(head * headStride)
    for (let i = 0; i < visible; ++i) {
      storeScaledValue(rowOf(first, list, slots, i, part) + part, values, i + 1, headStride, capacity, load<f32>(scores + floats(i)))
    }
    for (let i = 0; i < visible;) {
      if (((i + 1) & 3) == 0 && i + 4 <= visible) {
        const key1 = rowOf(first, list, slots, i + 1, part)
        const key2 = rowOf(first, list, slots, i + 2, part)
        storeFourKeys(rowOf(first, list, slots, i, part), key1, key2, rowOf(first, list, slots, i + 3, part), keys, i + 1, headStride)
        i += 4
      } else {
        storeKey(rowOf(first, list, slots, i, part), keys, i + 1, headStride)
        i++
      }
    }
  }
}

/** Projected key of the i-th token of a list; its value lies `part` behind. */
// @ts-ignore: decorator
@inline
function rowOf(keyValues: usize, list: usize, slots: usize, i: i32, part: usize): usize {
  const slot = load<i32>(slots + floats(load<i32>(list + floats(i))))
  return keyValues + <usize>slot * 2 * part
}

function storeScaledValue(value: usize, values: usize, index: i32, headStride: i32, capacity: i32, score: f32): void {
  const scores = f32x4.splat(score)
  let to = values + floats(index) * 8
  for (let channel = 0; channel < headStride; channel += 8, value += 32, to += floats(capacity) * 8) {
    v128.store(to, f32x4.mul(v128.load(value), scores))
    v128.store(to, f32x4.mul(v128.load(value, 16), scores), 16)
  }
}
