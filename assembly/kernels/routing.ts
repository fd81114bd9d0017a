import { count, countOr, floatWord, floats, operand, word } from '../operands'
import { shareStart } from '../parallel'
import { ListQueries, Piece, RouteCausal, Similarities } from '../steps'
import { sumOfSquares } from './norms'

/**
 * `Similarities`: rows are shared out. Equal tokens have equal products (one chain each, whatever the tile) and equal norms, so they have bit-equal
 * similarities wherever they stand. Adding +0 turns -0 into +0, so that zeros tie.
 */
export function similarities(step: usize, piece: usize, share: i32, shares: i32): void {
  const rows = count(step, Similarities.Rows, piece)
  const first = countOr(step, Similarities.First, piece, 0)
  const input = operand(step, Similarities.Input, piece)
  const products = operand(step, Similarities.Products, piece)
  const queries = operand(step, Similarities.Queries, piece)
  const keyValues = operand(step, Similarities.KeyValues, piece)
  const stride = floats(word(step, Similarities.Stride))
  const width = word(step, Similarities.Width)
  const productStride = floats(word(step, Similarities.ProductStride))
  const experts = word(step, Similarities.Experts)
  const capacity = word(step, Similarities.Capacity)
  const cosine = word(step, Similarities.Cosine)
  const scale = floatWord(step, Similarities.Scale)
  const end = shareStart(rows, share + 1, shares)
  for (let row = shareStart(rows, share, shares); row < end; ++row) {
    const factor = cosine ? scale / max<f32>(sqrt<f32>(sumOfSquares(input + <usize>row * stride, width)), 1e-12) : 1
    const product = products + <usize>row * productStride
    for (let expert = 0; expert < experts; ++expert) {
      const at = floats(expert * capacity + first + row)
      store<f32>(queries + at, load<f32>(product + floats(expert)) * factor + 0)
      store<f32>(keyValues + at, load<f32>(product + floats(experts + expert)) * factor + 0)
    }
  }
}

/** How many of `n` values are at or above `value`. */
function countAtLeast(values: usize, n: i32, value: f32): i32 {
  const bound = f32x4.splat(value)
  let counts = i32x4.splat(0)
  let i = 0
  for (; i + 4 <= n; i += 4) counts = i32x4.sub(counts, f32x4.ge(v128.load(values + floats(i)), bound))
  let total = i32x4.extract_lane(counts, 0) + i32x4.extract_lane(counts, 1) + i32x4.extract_lane(counts, 2) + i32x4.extract_lane(counts, 3)
  for (; i < n; ++i) if (load<f32>(values + floats(i)) >= value) total++
  return total
}

/** `RouteCausal`: experts are shared out. */
export function routeCausal(step: usize, piece: usize, share: i32, shares: i32): void {
  const first = countOr(step, RouteCausal.First, piece, 0)
  const rowEnd = word(piece, Piece.Routed) ? first + count(step, RouteCausal.Rows, piece) : 0
  const offset = word(piece, Piece.WindowOffset)
  const experts = word(step, RouteCausal.Experts)
  const limit = word(step, RouteCausal.Count)
  const rowCapacity = word(step, RouteCausal.RowCapacity)
  const end = shareStart(experts, share + 1, shares)
  for (let expert = shareStart(experts, share, shares); expert < end; ++expert) {
    const s = operand(step, RouteCausal.Similarities, piece) + floats(expert * word(step, RouteCausal.Capacity))
    const list = operand(step, RouteCausal.Lists, piece) + floats(expert * rowCapacity)
    const slots = operand(step, RouteCausal.Slots, piece) + floats(expert * rowCapacity)
    let taken = 0
    for (let row = first; row < rowEnd; ++row) {
      const token = offset + row
      const isQuery = countAtLeast(s, token, load<f32>(s + floats(token))) < limit
      store<i32>(slots + floats(row), isQuery ? taken : -1)
      if (isQuery) store<i32>(list + floats(taken++), row)
    }
    store<i32>(operand(step, RouteCausal.Counts, piece) + floats(expert), taken)
  }
}

/** `ListQueries`: experts are shared out. */
export function listQueries(step: usize, piece: usize, share: i32, shares: i32): void {
  const rows = word(piece, Piece.Routed) ? word(piece, Piece.Rows) : 0
  const first = countOr(step, ListQueries.First, piece, 0)
  const rowEnd = first + count(step, ListQueries.Rows, piece)
  const firstListed = max(first, word(piece, Piece.Unrouted))
  const windows = max(1, word(piece, Piece.Windows))
  const windowSize = word(step, ListQueries.WindowSize)
  const allStarts = operand(step, ListQueries.Starts, piece)
  if (share == 0 && allStarts) listEnds(step, piece, windows)
  const start = <i32>load<f64>(piece + (Piece.Position << 2))
  const experts = word(step, ListQueries.Experts)
  const rowCapacity = word(step, ListQueries.RowCapacity)
  const end = shareStart(experts, share + 1, shares)
  for (let expert = shareStart(experts, share, shares); expert < end; ++expert) {
    const offset = floats(expert * word(step, ListQueries.Capacity) + start)
    const flags = operand(step, ListQueries.Taken, piece) + offset
    const carried = operand(step, ListQueries.Scores, piece) + offset
    const list = operand(step, ListQueries.Lists, piece) + floats(expert * rowCapacity)
    const slots = operand(step, ListQueries.Slots, piece) + floats(expert * rowCapacity)
    const scores = operand(step, ListQueries.ListScores, piece) + floats(expert * rowCapacity)
    const starts = allStarts + floats(expert * word(step, ListQueries.StartCapacity))
    // where the next window begins; a piece that begins within a window has no other
    let nextStart = 0
    let window = 0
    let taken = 0
    for (let row = 0; row < rows; ++row) {
      if (allStarts && row == nextStart) {
        store<i32>(starts + floats(window++), taken)
        nextStart += windowSize
      }
      if (row < firstListed || row >= rowEnd || load<i32>(flags + floats(row)) == 0) {
        store<i32>(slots + floats(row), -1)
        continue
      }
      store<i32>(list + floats(taken), row)
      store<f32>(scores + floats(taken), load<f32>(carried + floats(row)))
      store<i32>(slots + floats(row), taken++)
    }
    store<i32>(operand(step, ListQueries.Counts, piece) + floats(expert), taken)
    if (allStarts) for (; window <= windows; ++window) store<i32>(starts + floats(window), taken)
  }
}

/** How many key/values each window of the piece has: all earlier windows' tokens, or as many as are chosen. */
function listEnds(step: usize, piece: usize, windows: i32): void {
  const ends = operand(step, ListQueries.Ends, piece)
  const first = word(piece, Piece.Window)
  const most = word(step, ListQueries.KeyValues)
  for (let z = 0; z < windows; ++z) store<i32>(ends + floats(z), <i32>min<i64>(most, <i64>(first + z) * word(step, ListQueries.WindowSize)))
}
