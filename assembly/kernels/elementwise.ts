import { HALF, widenBrainHalves, widenHalves } from '../math'
import { count, countOr, floats, operand, word } from '../operands'
import { shareStart } from '../parallel'
import { Combine, CopyRows, Embed, LogProbabilities, Piece, WeightFormat } from '../steps'
import { largestOf, sumOfExponentials } from './log-sum-exp'

/** `Embed`: rows of the token table, plus the position's learned row where the model has any. */
export function embed(step: usize, piece: usize, share: i32, shares: i32): void {
  const rows = count(step, Embed.Rows, piece)
  const ids = operand(step, Embed.TokenIds, piece)
  const tokens = operand(step, Embed.Tokens, piece)
  const positions = operand(step, Embed.Positions, piece)
  const output = operand(step, Embed.Output, piece)
  const stride = word(step, Embed.Stride)
  const start = <usize>load<f64>(piece + (Piece.Position << 2))
  const end = shareStart(rows, share + 1, shares)
  for (let row = shareStart(rows, share, shares); row < end; ++row) {
    const out = output + floats(row) * stride
    readRow(word(step, Embed.TokensFormat), tokens, load<i32>(ids + floats(row)), stride, out, false)
    if (positions) readRow(word(step, Embed.PositionsFormat), positions, start + row, stride, out, true)
  }
}

function addRow(out: usize, x: usize, stride: i32): void {
  for (let i = 0; i < stride; i += 4, out += 16, x += 16) v128.store(out, f32x4.add(v128.load(out), v128.load(x)))
}

/** Row `index` of a table, widened to float32, to `out` or added to it. */
function readRow(format: WeightFormat, table: usize, index: usize, stride: i32, out: usize, adds: bool): void {
  const size: usize = format == WeightFormat.Float32 ? 16 : 8
  let at = table + index * ((<usize>stride) >> 2) * size
  for (const end = out + floats(stride); out < end; out += 16, at += size) {
    const v =
      format == WeightFormat.Float32
        ? v128.load(at)
        : format == WeightFormat.Float16
          ? widenHalves(v128.load_ext<i16>(at), v128.load32_splat(HALF), v128.load32_splat(HALF, 4))
          : widenBrainHalves(v128.load_ext<u16>(at))
    v128.store(out, adds ? f32x4.add(v128.load(out), v) : v)
  }
}

/** `CopyRows`. */
export function copyRows(step: usize, piece: usize, share: i32, shares: i32): void {
  const rows = count(step, CopyRows.Rows, piece)
  const size = floats(word(step, CopyRows.Stride))
  const first = shareStart(rows, share, shares)
  const last = shareStart(rows, share + 1, shares)
  const output = operand(step, CopyRows.Output, piece) + <usize>(countOr(step, CopyRows.First, piece, 0) + first) * size
  memory.copy(output, operand(step, CopyRows.Input, piece) + <usize>first * size, <usize>(last - first) * size)
}

/** `Combine`: one row is one thread's, its terms in expert order. */
export function combine(step: usize, piece: usize, share: i32, shares: i32): void {
  const rows = count(step, Combine.Rows, piece)
  const first = countOr(step, Combine.First, piece, 0)
  const firstRouted = word(piece, Piece.Routed) ? word(piece, Piece.Unrouted) : first + rows
  const average = word(piece, Piece.Average)
  const local = operand(step, Combine.Local, piece)
  const experts = operand(step, Combine.Routed, piece)
  const slots = operand(step, Combine.Slots, piece)
  const scores = operand(step, Combine.ListScores, piece)
  const nullTokens = operand(step, Combine.NullTokens, piece)
  const residual = operand(step, Combine.Residual, piece)
  const output = operand(step, Combine.Output, piece)
  const stride = word(step, Combine.Stride)
  const size = floats(stride)
  const expertCount = word(step, Combine.Experts)
  const capacity = word(step, Combine.RowCapacity)
  const end = shareStart(rows, share + 1, shares)
  for (let row = shareStart(rows, share, shares); row < end; ++row) {
    const out = output + <usize>row * size
    // the sum grows in the local output's place: the output may be the residual itself
    const sum = local + <usize>row * size
    const place = first + row
    if (place >= firstRouted) {
      for (let expert = 0; expert < expertCount; ++expert) {
        const slot = load<i32>(slots + floats(expert * capacity + place))
        if (slot < 0) {
          addRow(sum, nullTokens + <usize>expert * size, stride)
        } else {
          const score = scores ? load<f32>(scores + floats(expert * capacity + slot)) : 1
          addScaled(sum, experts + <usize>(expert * capacity + slot) * size, stride, score)
        }
      }
    }
    if (average) divideRow(sum, stride, <f32>(expertCount + 1))
    memory.copy(out, residual ? addTo(sum, residual + <usize>place * size, stride) : sum, size)
  }
}

function addScaled(out: usize, x: usize, stride: i32, score: f32): void {
  const scores = f32x4.splat(score)
  for (let i = 0; i < stride; i += 4, out += 16, x += 16) v128.store(out, f32x4.add(v128.load(out), f32x4.mul(v128.load(x), scores)))
}

function divideRow(x: usize, stride: i32, divisor: f32): void {
  const divisors = f32x4.splat(divisor)
  for (let i = 0; i < stride; i += 4, x += 16) v128.store(x, f32x4.div(v128.load(x), divisors))
}

function addTo(sum: usize, x: usize, stride: i32): usize {
  addRow(sum, x, stride)
  return sum
}

/** `LogProbabilities`: ln softmax at the target. */
export function logProbabilities(step: usize, piece: usize, share: i32, shares: i32): void {
  const rows = count(step, LogProbabilities.Rows, piece)
  const logits = operand(step, LogProbabilities.Logits, piece)
  const targets = operand(step, LogProbabilities.Targets, piece)
  const output = operand(step, LogProbabilities.Output, piece)
  const stride = word(step, LogProbabilities.Stride)
  const width = word(step, LogProbabilities.Width)
  const end = shareStart(rows, share + 1, shares)
  for (let row = shareStart(rows, share, shares); row < end; ++row) {
    const x = logits + floats(row) * stride
    const largest = largestOf(x, width)
    const target = load<f32>(x + floats(load<i32>(targets + floats(row))))
    store<f64>(output + ((<usize>row) << 3), <f64>target - <f64>largest - NativeMath.log(sumOfExponentials(x, width, largest, largest, 1)))
  }
}
