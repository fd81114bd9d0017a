import { FLOAT16_BITS, widenBfloat16, widenFloat16 } from '../math/half'
import { count, countOr, floats, headerOfRow, operand, sequenceHeaders, word } from '../operands'
import { partitionStart } from '../parallel'
import { DispatchHeader } from '../ir/header'
import { Combine, CopyRows, Embed, LogProbabilities } from '../ir/ops'
import { WeightFormat } from '../ir/values'
import { largestOf, sumOfExponentials } from './log-sum-exp'

/** `Embed`: rows of the token table, plus the learned position row if the model has any. */
export function embed(op: usize, header: usize, partition: i32, partitions: i32): void {
  const rows = count(op, Embed.Rows, header)
  const ids = operand(op, Embed.TokenIds, header)
  const tokens = operand(op, Embed.Tokens, header)
  const tokenScales = operand(op, Embed.TokenScales, header)
  const positions = operand(op, Embed.Positions, header)
  const output = operand(op, Embed.Output, header)
  const stride = word(op, Embed.Stride)
  const sequences = sequenceHeaders(header)
  const end = partitionStart(rows, partition + 1, partitions)
  for (let row = partitionStart(rows, partition, partitions); row < end; ++row) {
    const out = output + floats(row) * stride
    const id = load<i32>(ids + floats(row))
    if (tokenScales) readInt8Row(tokens + <usize>id * <usize>stride, load<f32>(tokenScales + floats(id)), stride, out)
    else readRow(word(op, Embed.TokensFormat), tokens, id, stride, out, false)
    if (!positions) continue
    const start = <usize>load<f64>(headerOfRow(header, sequences, row) + (DispatchHeader.Position << 2))
    readRow(word(op, Embed.PositionsFormat), positions, sequences ? start : start + row, stride, out, true)
  }
}

function addRow(out: usize, x: usize, stride: i32): void {
  for (let i = 0; i < stride; i += 4, out += 16, x += 16) v128.store(out, f32x4.add(v128.load(out), v128.load(x)))
}

/** Row `index` of a table, widened to float32, stored at `out` or added to it. */
function readRow(format: WeightFormat, table: usize, index: usize, stride: i32, out: usize, adds: bool): void {
  const size: usize = format == WeightFormat.Float32 ? 16 : 8
  let at = table + index * ((<usize>stride) >> 2) * size
  for (const end = out + floats(stride); out < end; out += 16, at += size) {
    const v =
      format == WeightFormat.Float32
        ? v128.load(at)
        : format == WeightFormat.Float16
          ? widenFloat16(v128.load_ext<i16>(at), v128.load32_splat(FLOAT16_BITS), v128.load32_splat(FLOAT16_BITS, 4))
          : widenBfloat16(v128.load_ext<u16>(at))
    v128.store(out, adds ? f32x4.add(v128.load(out), v) : v)
  }
}

/** A row of int8 (a multiple of 8 of them) times its scale. */
function readInt8Row(row: usize, scale: f32, stride: i32, out: usize): void {
  const scales = f32x4.splat(scale)
  for (const end = row + stride; row < end; row += 8, out += 32) {
    const values = v128.load_ext<i8>(row)
    v128.store(out, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(values)), scales))
    v128.store(out, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(values)), scales), 16)
  }
}

/** `CopyRows`. */
export function copyRows(op: usize, header: usize, partition: i32, partitions: i32): void {
  const rows = count(op, CopyRows.Rows, header)
  const size = floats(word(op, CopyRows.Stride))
  const first = partitionStart(rows, partition, partitions)
  const last = partitionStart(rows, partition + 1, partitions)
  const ring = word(op, CopyRows.Ring)
  const input = operand(op, CopyRows.Input, header)
  const sequences = sequenceHeaders(header)
  if (sequences) {
    for (let row = first; row < last; ++row) {
      const own = headerOfRow(header, sequences, row)
      const at = operand(op, CopyRows.Output, own) + <usize>countOr(op, CopyRows.First, own, 0) * size
      memory.copy(at, input + <usize>row * size, size)
    }
    return
  }
  const output = operand(op, CopyRows.Output, header)
  const offset = countOr(op, CopyRows.First, header, 0)
  // rows from here on begin the ring anew
  const turn = ring ? min(max(ring - offset, first), last) : last
  memory.copy(output + <usize>(offset + first) * size, input + <usize>first * size, <usize>(turn - first) * size)
  if (turn < last) memory.copy(output + <usize>(offset + turn - ring) * size, input + <usize>turn * size, <usize>(last - turn) * size)
}

/** `Combine`: one thread computes a row, adding terms in expert order. */
export function combine(op: usize, header: usize, partition: i32, partitions: i32): void {
  const rows = count(op, Combine.Rows, header)
  const first = countOr(op, Combine.First, header, 0)
  const sequences = sequenceHeaders(header)
  const firstRouted = word(header, DispatchHeader.Routed) ? word(header, DispatchHeader.Unrouted) : first + rows
  const average = word(header, DispatchHeader.Average)
  const local = operand(op, Combine.Local, header)
  const experts = operand(op, Combine.Routed, header)
  const slots = operand(op, Combine.Slots, header)
  const scores = operand(op, Combine.ListScores, header)
  const nullTokens = operand(op, Combine.NullTokens, header)
  const residual = operand(op, Combine.Residual, header)
  const output = operand(op, Combine.Output, header)
  const stride = word(op, Combine.Stride)
  const size = floats(stride)
  const expertCount = word(op, Combine.Experts)
  const capacity = word(op, Combine.RowCapacity)
  const end = partitionStart(rows, partition + 1, partitions)
  for (let row = partitionStart(rows, partition, partitions); row < end; ++row) {
    const out = output + <usize>row * size
    // the sum accumulates in place of the local output, since the output may be the residual itself
    const sum = local + <usize>row * size
    const place = first + row
    const isRouted = sequences ? word(headerOfRow(header, sequences, place), DispatchHeader.Routed) : i32(place >= firstRouted)
    if (isRouted) {
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
export function logProbabilities(op: usize, header: usize, partition: i32, partitions: i32): void {
  const rows = count(op, LogProbabilities.Rows, header)
  const logits = operand(op, LogProbabilities.Logits, header)
  const targets = operand(op, LogProbabilities.Targets, header)
  const output = operand(op, LogProbabilities.Output, header)
  const stride = word(op, LogProbabilities.Stride)
  const width = word(op, LogProbabilities.Width)
  const end = partitionStart(rows, partition + 1, partitions)
  for (let row = partitionStart(rows, partition, partitions); row < end; ++row) {
    const x = logits + floats(row) * stride
    const largest = largestOf(x, width)
    const target = load<f32>(x + floats(load<i32>(targets + floats(row))))
    store<f64>(output + ((<usize>row) << 3), <f64>target - <f64>largest - NativeMath.log(sumOfExponentials(x, width, largest, largest, 1)))
  }
}
