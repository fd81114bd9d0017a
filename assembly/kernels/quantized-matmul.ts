import { bufferAddress, count, floats, operand, word } from '../operands'
import { isStopped } from '../parallel'
import { BufferIndex } from '../ir/header'
import { QuantizedMatmul } from '../ir/ops'
import { INT32_COLUMNS, MAX_TILE_ROWS, WORKSPACE_BYTES } from '../ir/sizes'
import { IntegerDot } from '../ir/values'
import { finishRows } from './finish-rows'
import { GROUP, PANEL_ROW, gemm } from './gemm'
import { dotOf, hasTwoPlanes, isOfBytes, planeBytes } from './integer-rows'
import { multiplyPartition } from './product-partition'
import { Tile, integerTile } from './tile-shapes'
import { gemm_s8_1x32_grouped, gemm_s8p_1x32_grouped } from './tiles'

/*
 * Products of int8 weights. A step is four bytes of a row: four bytes of activations, or two of int16. Sums of integers
 * are exact, so blocks, tiles and the choice among `IntegerDot`s do not affect them.
 */

/** Steps of a block of bytes: 32 KiB of a group of panels, as of float32. */
const BYTE_STEPS: i32 = 256
/** Steps of a block that is widened to int16 in the workspace; an even number. */
const WIDENED_STEPS: i32 = 192
const WIDENED_BYTES: usize = 192 * 128
/** Rows whose sums of remainders fit after such a block. */
const LOW_ROWS: i32 = 64
const LOW_ROW: usize = 128

/** A single row, on whole groups of bytes. Indexed by `IntegerDot`. */
const ONE_ROW: StaticArray<Tile> = [gemm_s8_1x32_by_s16, gemm_s8_1x32_grouped, gemm_s8p_1x32_grouped]

/** `QuantizedMatmul`. */
export function quantizedMatmul(op: usize, header: usize, partition: i32, partitions: i32): void {
  quantizedMatmulShare(op, header, partition, partitions, partition)
}

/** One of the slices of a product that a single thread computes in sequence, in the first partition's workspace. */
export function quantizedMatmulSlice(op: usize, header: usize, slice: i32, slices: i32): void {
  quantizedMatmulShare(op, header, slice, slices, 0)
}

function quantizedMatmulShare(op: usize, header: usize, partition: i32, partitions: i32, place: i32): void {
  const rows = count(op, QuantizedMatmul.Rows, header)
  const groups = (word(op, QuantizedMatmul.Panels) + GROUP - 1) / GROUP
  multiplyPartition(op, header, partition, partitions, place, rows, groups, word(op, QuantizedMatmul.Projections), integerGroups)
}

/** Some groups of a product's outputs, for `rows` rows from `row` on. */
function integerGroups(op: usize, header: usize, place: i32, row: i32, rows: i32, firstGroup: i32, endGroup: i32): void {
  if (firstGroup == endGroup || rows == 0) return
  const depth = word(op, QuantizedMatmul.Depth)
  const bits = word(op, QuantizedMatmul.Bits)
  const allPanels = word(op, QuantizedMatmul.Panels)
  const lda = <usize>word(op, QuantizedMatmul.InputStride)
  const ldc = floats(word(op, QuantizedMatmul.OutputStride))
  const input = operand(op, QuantizedMatmul.Input, header) + <usize>row * lda
  const rowScales = operand(op, QuantizedMatmul.InputScales, header) + floats(row)
  const weights = operand(op, QuantizedMatmul.Weights, header)
  const weightScales = operand(op, QuantizedMatmul.WeightScales, header)
  const output = operand(op, QuantizedMatmul.Output, header) + <usize>row * ldc
  const bias = operand(op, QuantizedMatmul.Bias, header)
  const target = operand(op, QuantizedMatmul.AddTo, header)
  const addTo = target ? target + <usize>row * ldc : 0
  const activation = word(op, QuantizedMatmul.Activation)
  const workspace = bufferAddress(header, BufferIndex.Workspace) + <usize>(place * WORKSPACE_BYTES)

  const dot = dotOf(header, count(op, QuantizedMatmul.Rows, header))
  const steps = (depth + 3) >> 2
  const panelBytes = <usize>steps * PANEL_ROW
  const lows = workspace + WIDENED_BYTES
  const low = hasTwoPlanes(dot, bits, depth) ? planeBytes(dot, depth) : 0
  const maxRows = low ? LOW_ROWS : rows
  const endPanel = min(endGroup * GROUP, allPanels)
  let panels = 0
  for (let panel = firstGroup * GROUP; panel < endPanel; panel += panels) {
    if (isStopped(header)) return
    const left = endPanel - panel
    // a single row passes over all whole groups in one call
    panels = rows == 1 && low == 0 && left > GROUP ? left & -GROUP : min(GROUP, left)
    const group = weights + <usize>panel * panelBytes
    const column = <usize>panel * PANEL_ROW
    const scales = weightScales + column
    for (let first = 0; first < rows; first += maxRows) {
      const part = min(maxRows, rows - first)
      const a = input + <usize>first * lda
      const c = output + <usize>first * ldc + column
      multiply(dot, part, steps, a, lda, group, panels, c, ldc, workspace)
      if (low) multiply(dot, part, steps, a + low, lda, group, panels, lows, LOW_ROW, workspace)
      const isWide = bits == 14 && depth > INT32_COLUMNS
      const sums = scales + floats(allPanels * 8)
      scaleSums(part, panels, c, ldc, low ? lows : 0, isWide, rowScales + floats(first), scales, sums, offsetShift(dot, low != 0))
      finishRows(part, panels, c, ldc, bias ? bias + column : 0, activation, addTo ? addTo + <usize>first * ldc + column : 0)
    }
  }
}

/** log2 of what bytes of activations are greater by than their values; -1 where they are values. */
function offsetShift(dot: IntegerDot, hasLow: bool): i32 {
  if (!isOfBytes(dot)) return -1
  // 64, and in two planes 64 · 128
  return hasLow ? 13 : 6
}

/** Sums of products (int32) of a group's panels, or of several whole groups for a single row. */
function multiply(
  dot: IntegerDot,
  rows: i32,
  steps: i32,
  a: usize,
  lda: usize,
  group: usize,
  panels: i32,
  c: usize,
  ldc: usize,
  workspace: usize,
): void {
  const kStride = <usize>min(panels, GROUP) * PANEL_ROW
  if (rows == 1 && panels >= GROUP) {
    unchecked(ONE_ROW[dot])(panels / GROUP, steps, a, lda, group, kStride, <usize>steps * PANEL_ROW, c, ldc, false)
    return
  }
  const tile = integerTile(dot)
  if (isOfBytes(dot)) {
    for (let k = 0; k < steps || k == 0; k += BYTE_STEPS) {
      const block = min(BYTE_STEPS, steps - k)
      const from = group + <usize>k * kStride
      const next = from + <usize>block * kStride
      // a single tile's rows read them in one stream, which hardware prefetches
      const nextBytes = rows > MAX_TILE_ROWS && k + block < steps ? <usize>min(BYTE_STEPS, steps - k - block) * kStride : 0
      gemm(tile, rows, block, a + floats(k), lda, from, kStride, PANEL_ROW, panels, c, ldc, k > 0, next, nextBytes)
    }
    return
  }
  const pairs = steps << 1
  for (let k = 0; k < pairs || k == 0; k += WIDENED_STEPS) {
    const block = min(WIDENED_STEPS, pairs - k)
    widenPairs(group + <usize>(k >> 1) * kStride, ((<usize>block) >> 1) * kStride, kStride, workspace)
    gemm(tile, rows, block, a + floats(k), lda, workspace, kStride, PANEL_ROW, panels, c, ldc, k > 0)
  }
}

/** `length` bytes of weights, [4 of k] for each output, to int16: two steps of [2 of k] for each step of bytes. */
function widenPairs(source: usize, length: usize, kStride: usize, target: usize): void {
  for (const end = source + length; source < end; target += 2 * kStride) {
    for (let at: usize = 0; at < kStride; at += 16, source += 16) {
      const weights = v128.load(source)
      const low = i16x8.extend_low_i8x16_s(weights)
      const high = i16x8.extend_high_i8x16_s(weights)
      v128.store(target + at, v128.shuffle<i32>(low, high, 0, 2, 4, 6))
      v128.store(target + at + kStride, v128.shuffle<i32>(low, high, 1, 3, 5, 7))
    }
  }
}

/**
 * One row of int16 by groups of bytes, which are widened in registers: half a group at a time, each output in two sums
 * of every other pair. A `Tile`, of `k` steps of bytes.
 */
function gemm_s8_1x32_by_s16(
  count: i32,
  k: i32,
  a: usize,
  lda: usize,
  b: usize,
  kStride: usize,
  panelStride: usize,
  c: usize,
  ldc: usize,
  accumulate: bool,
): void {
  for (; count > 0; --count) {
    for (let half: usize = 0; half < 128; half += 64) {
      let at = b + half
      let x = a
      let c0 = i32x4.splat(0)
      let c1 = c0
      let c2 = c0
      let c3 = c0
      let c4 = c0
      let c5 = c0
      let c6 = c0
      let c7 = c0
      for (let left = k; left > 0; --left) {
        const pairs = v128.load64_splat(x)
        const w0 = v128.load(at)
        c0 = i32x4.add(c0, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(w0), pairs))
        c1 = i32x4.add(c1, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(w0), pairs))
        const w1 = v128.load(at, 16)
        c2 = i32x4.add(c2, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(w1), pairs))
        c3 = i32x4.add(c3, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(w1), pairs))
        const w2 = v128.load(at, 32)
        c4 = i32x4.add(c4, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(w2), pairs))
        c5 = i32x4.add(c5, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(w2), pairs))
        const w3 = v128.load(at, 48)
        c6 = i32x4.add(c6, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(w3), pairs))
        c7 = i32x4.add(c7, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(w3), pairs))
        x += 8
        at += kStride
      }
      v128.store(c, addPairs(c0, c1))
      v128.store(c, addPairs(c2, c3), 16)
      v128.store(c, addPairs(c4, c5), 32)
      v128.store(c, addPairs(c6, c7), 48)
      c += 64
    }
    b += 4 * panelStride
  }
}

/** The sums of neighbouring lanes. */
// @ts-ignore: decorator
@inline
function addPairs(first: v128, last: v128): v128 {
  return i32x4.add(v128.shuffle<i32>(first, last, 0, 2, 4, 6), v128.shuffle<i32>(first, last, 1, 3, 5, 7))
}

/**
 * In place of each sum its value: (float32(sum) · scale of the weights) · scale of the row.
 * @param lows sums of remainders, of rows 128 bytes apart, or 0 if there is one plane
 * @param isWide whether sums of both planes may overflow int32: they are added in float64, exactly
 * @param shift log2 of the activations' offset, or -1: that times `weightSums` is subtracted
 */
function scaleSums(
  rows: i32,
  panels: i32,
  c: usize,
  ldc: usize,
  lows: usize,
  isWide: bool,
  rowScales: usize,
  weightScales: usize,
  weightSums: usize,
  shift: i32,
): void {
  const width = <usize>panels * PANEL_ROW
  const mask = i32x4.splat(shift < 0 ? 0 : -1)
  for (let row = 0; row < rows; ++row) {
    const rowScale = v128.load32_splat(rowScales + floats(row))
    for (let at: usize = 0; at < width; at += 16) {
      const sum = v128.load(c + at)
      const weightSum = v128.and(v128.load(weightSums + at), mask)
      let value: v128
      if (isWide) {
        const low = v128.load(lows + at)
        value = v128.shuffle<f32>(
          wideSum(sum, low, weightSum, shift),
          wideSum(upperHalf(sum), upperHalf(low), upperHalf(weightSum), shift),
          0,
          1,
          4,
          5,
        )
      } else {
        const total = lows ? i32x4.add(i32x4.shl(sum, 7), v128.load(lows + at)) : sum
        value = f32x4.convert_i32x4_s(i32x4.sub(total, i32x4.shl(weightSum, shift)))
      }
      v128.store(c + at, f32x4.mul(f32x4.mul(value, v128.load(weightScales + at)), rowScale))
    }
    c += ldc
    if (lows) lows += LOW_ROW
  }
}

// @ts-ignore: decorator
@inline
function upperHalf(lanes: v128): v128 {
  return v128.shuffle<i32>(lanes, lanes, 2, 3, 2, 3)
}

/** 128 · sum + low - 2^shift · weightSum of the first two lanes, rounded once. */
// @ts-ignore: decorator
@inline
function wideSum(sum: v128, low: v128, weightSum: v128, shift: i32): v128 {
  const high = f64x2.mul(f64x2.convert_low_i32x4_s(sum), f64x2.splat(128))
  const offset = f64x2.mul(f64x2.convert_low_i32x4_s(weightSum), f64x2.splat(<f64>(1 << shift)))
  return f32x4.demote_f64x2_zero(f64x2.sub(f64x2.add(high, f64x2.convert_low_i32x4_s(low)), offset))
}
