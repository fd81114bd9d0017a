import { count, floats, operand, word } from '../operands'
import { partitionStart } from '../parallel'
import { DispatchHeader } from '../ir/header'
import { GatherContext, NullContext, SelectContext, UpdateContext, UpdateContextInputs } from '../ir/ops'
import { HISTOGRAM_BYTES } from '../ir/sizes'
import { storeFourKeys, storeKey, storeValue } from './key-value-layout'
import { topK } from './top-k'

/*
 * An expert's context: the keys and values its queries see, by rank: first the null KV, then the chosen tokens in
 * ascending position. Admitted tokens come after all retained ones, so updating a context means closing gaps and
 * appending.
 */

/** `SelectContext`: split by experts. */
export function selectContext(op: usize, header: usize, partition: i32, partitions: i32): void {
  const closes = word(header, DispatchHeader.ClosingRows) != 0
  const experts = word(op, SelectContext.Experts)
  const window = word(op, SelectContext.Window)
  const capacity = word(op, SelectContext.ContextCapacity)
  const before = word(header, DispatchHeader.ClosingContextCount)
  const start = <i64>load<f64>(header + (DispatchHeader.ClosingPosition << 2))
  const end = partitionStart(experts, partition + 1, partitions)
  for (let expert = partitionStart(experts, partition, partitions); expert < end; ++expert) {
    const retainedCount = operand(op, SelectContext.RetainedCounts, header) + floats(expert)
    const admittedCount = operand(op, SelectContext.AdmittedCounts, header) + floats(expert)
    store<i32>(retainedCount, 0)
    store<i32>(admittedCount, 0)
    if (!closes) continue

    const contextScores = operand(op, SelectContext.ContextRouterScores, header) + floats(expert * capacity)
    const positions = operand(op, SelectContext.ContextPositions, header) + 2 * floats(expert * capacity)
    const histogram = operand(op, SelectContext.Candidates, header) + <usize>expert * <usize>word(op, SelectContext.WorkBytes)
    const candidates = histogram + <usize>HISTOGRAM_BYTES
    const chosen = candidates + floats(capacity + window)
    memory.copy(candidates, contextScores, floats(before))
    memory.copy(candidates + floats(before), operand(op, SelectContext.RouterScores, header) + floats(expert * window), floats(window))
    const total = topK(candidates, before + window, word(op, SelectContext.Count), histogram, chosen)

    const keptList = operand(op, SelectContext.Retained, header) + floats(expert * capacity)
    const newList = operand(op, SelectContext.Admitted, header) + floats(expert * window)
    let retained = 0
    for (let i = 0; i < total; ++i) {
      const candidate = load<i32>(chosen + floats(i))
      store<f32>(contextScores + floats(i), load<f32>(candidates + floats(candidate)))
      if (candidate < before) {
        store<i32>(keptList + floats(retained++), candidate)
        store<i64>(positions + 2 * floats(i), load<i64>(positions + 2 * floats(candidate)))
      } else {
        store<i32>(newList + floats(i - retained), candidate - before)
        store<i64>(positions + 2 * floats(i), start + candidate - before)
      }
    }
    store<i32>(retainedCount, retained)
    store<i32>(admittedCount, total - retained)
  }
}

/** `UpdateContext`: split by heads. */
export function updateContext(op: usize, header: usize, partition: i32, partitions: i32): void {
  const admitted = count(op, UpdateContext.AdmittedCount, header)
  const retained = count(op, UpdateContext.RetainedCount, header)
  const keptList = operand(op, UpdateContext.Retained, header)
  const projected = operand(op, UpdateContext.Projected, header)
  const heads = word(op, UpdateContext.Heads)
  const headStride = word(op, UpdateContext.HeadStride)
  const capacity = word(op, UpdateContext.Capacity)
  const headSize = floats(headStride * capacity)
  const part = floats(heads * headStride)
  const end = partitionStart(heads, partition + 1, partitions)
  for (let head = partitionStart(heads, partition, partitions); head < end; ++head) {
    const keys = operand(op, UpdateContext.Keys, header) + <usize>head * headSize
    const values = operand(op, UpdateContext.Values, header) + <usize>head * headSize
    if (keptList) {
      for (let i = 0; i < retained; ++i) moveRank(keys, values, load<i32>(keptList + floats(i)) + 1, i + 1, headStride, capacity)
    }
    for (let i = 0; i < admitted; ++i) {
      const key = projected + <usize>i * 2 * part + floats(head * headStride)
      storeKey(key, keys, retained + i + 1, headStride)
      storeValue(key + part, values, retained + i + 1, headStride, capacity)
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

/** `UpdateContextInputs`: split by columns, since rows move to places of others. */
export function updateContextInputs(op: usize, header: usize, partition: i32, partitions: i32): void {
  const retained = count(op, UpdateContextInputs.RetainedCount, header)
  const admitted = count(op, UpdateContextInputs.AdmittedCount, header)
  const keptList = operand(op, UpdateContextInputs.Retained, header)
  const newList = operand(op, UpdateContextInputs.Admitted, header)
  const stride = word(op, UpdateContextInputs.Stride)
  const size = floats(stride)
  const first = partitionStart(stride, partition, partitions)
  const width = floats(partitionStart(stride, partition + 1, partitions) - first)
  const inputs = operand(op, UpdateContextInputs.Inputs, header) + floats(first)
  const recent = operand(op, UpdateContextInputs.Recent, header) + floats(first)
  const window = count(op, UpdateContextInputs.First, header)
  const ring = word(op, UpdateContextInputs.Ring)
  for (let i = 0; i < retained; ++i) {
    const rank = load<i32>(keptList + floats(i))
    if (rank != i) memory.copy(inputs + <usize>i * size, inputs + <usize>rank * size, width)
  }
  for (let i = 0; i < admitted; ++i) {
    let row = window + load<i32>(newList + floats(i))
    if (row >= ring) row -= ring
    memory.copy(inputs + <usize>(retained + i) * size, recent + <usize>row * size, width)
  }
}

/** `NullContext`: done by one partition. */
export function nullContext(op: usize, header: usize, partition: i32, partitions: i32): void {
  if (partition != 0) return
  const pair = operand(op, NullContext.Null, header)
  const heads = word(op, NullContext.Heads)
  const headStride = word(op, NullContext.HeadStride)
  const capacity = word(op, NullContext.Capacity)
  const keys = operand(op, NullContext.Keys, header)
  const values = operand(op, NullContext.Values, header)
  for (let head = 0; head < heads; ++head) {
    const offset = floats(head * headStride * capacity)
    const key = pair + floats(head * headStride)
    storeKey(key, keys + offset, 0, headStride)
    storeValue(key + floats(heads * headStride), values + offset, 0, headStride, capacity)
  }
}

/** `GatherContext`: split by heads. */
export function gatherContext(op: usize, header: usize, partition: i32, partitions: i32): void {
  if (word(header, DispatchHeader.WindowStart) == 0 || word(header, DispatchHeader.Routed) == 0) return
  const windows = max(1, word(header, DispatchHeader.Windows))
  const first = word(header, DispatchHeader.Window)
  const ends = operand(op, GatherContext.Ends, header)
  for (let z = first == 0 ? 1 : 0; z < windows; ++z) {
    const visible = ends ? load<i32>(ends + floats(z)) : word(header, DispatchHeader.ContextCount)
    gatherWindow(op, header, first + z, floats(z * word(op, GatherContext.ContextStride)), visible, partition, partitions)
  }
}

/** One window's context, `contextOffset` bytes after the first one's. */
function gatherWindow(op: usize, header: usize, window: i32, contextOffset: usize, visible: i32, partition: i32, partitions: i32): void {
  const expert = word(op, GatherContext.Expert)
  const offset = floats(((window - 1) * word(op, GatherContext.Experts) + expert) * word(op, GatherContext.ListCapacity))
  const list = operand(op, GatherContext.Lists, header) + offset
  const scores = operand(op, GatherContext.Scores, header) + offset
  const slots = operand(op, GatherContext.Slots, header) + floats(expert * word(op, GatherContext.SequenceCapacity))
  const keyValues = operand(op, GatherContext.KeyValues, header)
  const heads = word(op, GatherContext.Heads)
  const headStride = word(op, GatherContext.HeadStride)
  const capacity = word(op, GatherContext.Capacity)
  const headSize = floats(headStride * capacity)
  const part = floats(heads * headStride)
  const end = partitionStart(heads, partition + 1, partitions)
  for (let head = partitionStart(heads, partition, partitions); head < end; ++head) {
    const keys = operand(op, GatherContext.Keys, header) + contextOffset + <usize>head * headSize
    const values = operand(op, GatherContext.Values, header) + contextOffset + <usize>head * headSize
    const pair = operand(op, GatherContext.Null, header) + floats(head * headStride)
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

/** Projected key of the i-th token of a list; its value follows `part` bytes later. */
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
