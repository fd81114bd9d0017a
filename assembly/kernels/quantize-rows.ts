import { maxLanes } from '../math/vectors'
import { count, floats, operand, word } from '../operands'
import { partitionStart } from '../parallel'
import { QuantizeRows } from '../ir/ops'
import { IntegerDot } from '../ir/values'
import { dotOf, hasTwoPlanes, isOfBytes, planeBytes } from './integer-rows'

/** Below this a row is multiplied by 2^64 first: the reciprocal of its scale would be infinite. */
const SMALL: f32 = 5.421010862427522e-20
const TWO_TO_64: f32 = 18446744073709551616.0

/** `QuantizeRows`: one thread rounds a row. */
export function quantizeRows(op: usize, header: usize, partition: i32, partitions: i32): void {
  const rows = count(op, QuantizeRows.Rows, header)
  const depth = word(op, QuantizeRows.Depth)
  const bits = word(op, QuantizeRows.Bits)
  const lda = floats(word(op, QuantizeRows.InputStride))
  const stride = <usize>word(op, QuantizeRows.Stride)
  const input = operand(op, QuantizeRows.Input, header)
  const output = operand(op, QuantizeRows.Output, header)
  const scales = operand(op, QuantizeRows.Scales, header)
  const dot = dotOf(header, rows)
  const plane = planeBytes(dot, depth)
  const low = hasTwoPlanes(dot, bits, depth) ? plane : 0
  const levels: f32 = bits == 14 ? 8191 : 63
  assert(stride >= plane + low, 'quantize rows: a stride shorter than a row')
  const end = partitionStart(rows, partition + 1, partitions)
  for (let row = partitionStart(rows, partition, partitions); row < end; ++row) {
    const x = input + <usize>row * lda
    const largest = largestMagnitude(x, depth)
    const isFinite = largest < Infinity
    const boost: f32 = largest < SMALL ? TWO_TO_64 : 1
    // with a factor of 0 everything becomes 0, NaN and infinity too
    const factor: f32 = isFinite && largest > 0 ? levels / (largest * boost) : 0
    store<f32>(scales + floats(row), isFinite ? largest / levels : NaN)
    roundRow(x, depth, boost, factor, dot, output + <usize>row * stride, low)
  }
}

/** NaN if there is one. Reads whole vectors of eight; columns past `depth` are zero. */
function largestMagnitude(x: usize, depth: i32): f32 {
  let first = f32x4.splat(0)
  let second = first
  for (const end = x + floats(depth); x < end; x += 32) {
    first = f32x4.max(first, f32x4.abs(v128.load(x)))
    second = f32x4.max(second, f32x4.abs(v128.load(x, 16)))
  }
  return maxLanes(f32x4.max(first, second))
}

/** @param low bytes from the plane of quotients to that of remainders, or 0 */
function roundRow(x: usize, depth: i32, boost: f32, factor: f32, dot: IntegerDot, out: usize, low: usize): void {
  const boosts = f32x4.splat(boost)
  const factors = f32x4.splat(factor)
  const isBytes = isOfBytes(dot)
  const offset = i8x16.splat(64)
  const remainder = i16x8.splat(127)
  for (const end = x + floats(depth); x < end; x += 32) {
    const first = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(f32x4.mul(v128.load(x), boosts), factors)))
    const last = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(f32x4.mul(v128.load(x, 16), boosts), factors)))
    const values = i16x8.narrow_i32x4_s(first, last)
    const quotients = low ? i16x8.shr_s(values, 7) : values
    if (isBytes) {
      v128.store64_lane(out, i8x16.add(i8x16.narrow_i16x8_s(quotients, quotients), offset), 0)
      if (low) {
        const remainders = v128.and(values, remainder)
        v128.store64_lane(out + low, i8x16.narrow_i16x8_s(remainders, remainders), 0)
      }
      out += 8
    } else {
      v128.store(out, quotients)
      if (low) v128.store(out + low, v128.and(values, remainder))
      out += 16
    }
  }
}
