import { count, countOr, floatWord, floats, headerOfRow, operand, sequenceHeaders, word } from '../operands'
import { partitionStart } from '../parallel'
import { DispatchHeader } from '../ir/header'
import { ListQueries, RouteCausal, RouterScores } from '../ir/ops'
import { sumOfSquares } from './norms'

/**
 * `RouterScores`: split by rows. Equal tokens have equal products (one chain each, whatever the tile) and equal norms,
 * and hence bit-equal router scores wherever they occur. Adding +0 turns -0 into +0, so that zeros tie.
 */
export function routerScores(op: usize, header: usize, partition: i32, partitions: i32): void {
  const rows = count(op, RouterScores.Rows, header)
  const input = operand(op, RouterScores.Input, header)
  const products = operand(op, RouterScores.Products, header)
  const sequences = sequenceHeaders(header)
  const stride = floats(word(op, RouterScores.Stride))
  const width = word(op, RouterScores.Width)
  const productStride = floats(word(op, RouterScores.ProductStride))
  const experts = word(op, RouterScores.Experts)
  const capacity = word(op, RouterScores.Capacity)
  const cosine = word(op, RouterScores.Cosine)
  const scale = floatWord(op, RouterScores.Scale)
  const end = partitionStart(rows, partition + 1, partitions)
  for (let row = partitionStart(rows, partition, partitions); row < end; ++row) {
    const factor = cosine ? scale / max<f32>(sqrt<f32>(sumOfSquares(input + <usize>row * stride, width)), 1e-12) : 1
    const productRow = products + <usize>row * productStride
    const own = headerOfRow(header, sequences, row)
    const queries = operand(op, RouterScores.Queries, own)
    const keyValues = operand(op, RouterScores.KeyValues, own)
    const place = countOr(op, RouterScores.First, own, 0) + (sequences ? 0 : row)
    for (let expert = 0; expert < experts; ++expert) {
      const at = floats(expert * capacity + place)
      store<f32>(queries + at, load<f32>(productRow + floats(expert)) * factor + 0)
      store<f32>(keyValues + at, load<f32>(productRow + floats(experts + expert)) * factor + 0)
    }
  }
}

/** Number of the `n` values that are at least `value`. */
function countAtLeast(values: usize, n: i32, value: f32): i32 {
  const bound = f32x4.splat(value)
  let counts = i32x4.splat(0)
  let i = 0
  for (; i + 4 <= n; i += 4) counts = i32x4.sub(counts, f32x4.ge(v128.load(values + floats(i)), bound))
  let total = i32x4.extract_lane(counts, 0) + i32x4.extract_lane(counts, 1) + i32x4.extract_lane(counts, 2) + i32x4.extract_lane(counts, 3)
  for (; i < n; ++i) if (load<f32>(values + floats(i)) >= value) total++
  return total
}

/** `RouteCausal`: split by experts. */
export function routeCausal(op: usize, header: usize, partition: i32, partitions: i32): void {
  const sequences = sequenceHeaders(header)
  const first = countOr(op, RouteCausal.First, header, 0)
  const rowEnd = sequences || word(header, DispatchHeader.Routed) ? first + count(op, RouteCausal.Rows, header) : 0
  const experts = word(op, RouteCausal.Experts)
  const limit = word(op, RouteCausal.Count)
  const rowCapacity = word(op, RouteCausal.RowCapacity)
  const end = partitionStart(experts, partition + 1, partitions)
  for (let expert = partitionStart(experts, partition, partitions); expert < end; ++expert) {
    const scoresOffset = floats(expert * word(op, RouteCausal.Capacity))
    const list = operand(op, RouteCausal.Lists, header) + floats(expert * rowCapacity)
    const slots = operand(op, RouteCausal.Slots, header) + floats(expert * rowCapacity)
    let taken = 0
    for (let row = first; row < rowEnd; ++row) {
      const own = headerOfRow(header, sequences, row)
      if (sequences && !word(own, DispatchHeader.Routed)) continue
      const s = operand(op, RouteCausal.RouterScores, own) + scoresOffset
      const token = word(own, DispatchHeader.WindowOffset) + (sequences ? 0 : row)
      const isQuery = countAtLeast(s, token, load<f32>(s + floats(token))) < limit
      store<i32>(slots + floats(row), isQuery ? taken : -1)
      if (isQuery) store<i32>(list + floats(taken++), row)
    }
    store<i32>(operand(op, RouteCausal.Counts, header) + floats(expert), taken)
  }
}

/** `ListQueries`: split by experts. */
export function listQueries(op: usize, header: usize, partition: i32, partitions: i32): void {
  const rows = word(header, DispatchHeader.Routed) ? word(header, DispatchHeader.Rows) : 0
  const first = countOr(op, ListQueries.First, header, 0)
  const rowEnd = first + count(op, ListQueries.Rows, header)
  const firstListed = max(first, word(header, DispatchHeader.Unrouted))
  const windows = max(1, word(header, DispatchHeader.Windows))
  const windowSize = word(op, ListQueries.WindowSize)
  const allStarts = operand(op, ListQueries.Starts, header)
  if (partition == 0 && allStarts) listEnds(op, header, windows)
  const start = <i32>load<f64>(header + (DispatchHeader.Position << 2))
  const experts = word(op, ListQueries.Experts)
  const rowCapacity = word(op, ListQueries.RowCapacity)
  const end = partitionStart(experts, partition + 1, partitions)
  for (let expert = partitionStart(experts, partition, partitions); expert < end; ++expert) {
    const offset = floats(expert * word(op, ListQueries.Capacity) + start)
    const mask = operand(op, ListQueries.QueryMask, header) + offset
    const carried = operand(op, ListQueries.Scores, header) + offset
    const list = operand(op, ListQueries.Lists, header) + floats(expert * rowCapacity)
    const slots = operand(op, ListQueries.Slots, header) + floats(expert * rowCapacity)
    const scores = operand(op, ListQueries.ListScores, header) + floats(expert * rowCapacity)
    const starts = allStarts + floats(expert * word(op, ListQueries.StartCapacity))
    // start of the next window; a chunk that begins within a window has no other
    let nextStart = 0
    let window = 0
    let taken = 0
    for (let row = 0; row < rows; ++row) {
      if (allStarts && row == nextStart) {
        store<i32>(starts + floats(window++), taken)
        nextStart += windowSize
      }
      if (row < firstListed || row >= rowEnd || load<i32>(mask + floats(row)) == 0) {
        store<i32>(slots + floats(row), -1)
        continue
      }
      store<i32>(list + floats(taken), row)
      store<f32>(scores + floats(taken), load<f32>(carried + floats(row)))
      store<i32>(slots + floats(row), taken++)
    }
    store<i32>(operand(op, ListQueries.Counts, header) + floats(expert), taken)
    if (allStarts) for (; window <= windows; ++window) store<i32>(starts + floats(window), taken)
  }
}

/** Number of key/values for each window of the chunk: the tokens of all earlier windows, or as many as are chosen. */
function listEnds(op: usize, header: usize, windows: i32): void {
  const ends = operand(op, ListQueries.Ends, header)
  const first = word(header, DispatchHeader.Window)
  const most = word(op, ListQueries.KeyValues)
  for (let z = 0; z < windows; ++z) store<i32>(ends + floats(z), <i32>min<i64>(most, <i64>(first + z) * word(op, ListQueries.WindowSize)))
}
