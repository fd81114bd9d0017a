import { FLOAT16_BITS, widenBfloat16, widenFloat16 } from '../math/half'
import { maxLanes } from '../math/vectors'
import { bufferAddress, count, floats, operand, word } from '../operands'
import { isStopped } from '../parallel'
import { BufferIndex, DispatchHeader } from '../ir/header'
import { Matmul } from '../ir/ops'
import { MAX_TILE_ROWS, WORKSPACE_BYTES } from '../ir/sizes'
import { WeightFormat } from '../ir/values'
import { finishRows } from './finish-rows'
import { GROUP, PANEL_ROW, gemm } from './gemm'
import { multiplyPartition } from './product-partition'
import { Tile, kindOf } from './tile-shapes'
import {
  gemm_f32_1x32_u4_grouped,
  gemm_bf16_1x32_u4_grouped,
  gemm_f16_1x32_u4_grouped,
  gemm_f32_1x32_grouped,
  gemm_bf16_1x32_grouped,
  gemm_f16_1x32_grouped,
  gemm_bf16_2x16_u4_grouped,
  gemm_f16_2x16_u4_grouped,
  gemm_bf16_2x16_grouped,
  gemm_f16_2x16_grouped,
  gemm_bf16_3x8_u4_grouped,
  gemm_f16_3x8_u4_grouped,
  gemm_bf16_3x8_grouped,
  gemm_f16_3x8_grouped,
  gemm_bf16_4x8_u4_grouped,
  gemm_f16_4x8_u4_grouped,
  gemm_bf16_4x8_grouped,
  gemm_f16_4x8_grouped,
} from './tiles'

/**
 * For few rows, on a group of weights in storage format, which each pass widens in registers. Indexed by whether k is
 * unrolled, `WeightFormat`, then rows from 0 (never used) to 4. More rows leave no register for that, so weights are
 * widened once for all rows.
 */
// prettier-ignore
const IN_STORAGE_FORMAT: StaticArray<Tile> = [
  gemm_f32_1x32_grouped, gemm_f32_1x32_grouped, gemm_f32_1x32_grouped, gemm_f32_1x32_grouped, gemm_f32_1x32_grouped,
  gemm_f16_1x32_grouped, gemm_f16_1x32_grouped, gemm_f16_2x16_grouped, gemm_f16_3x8_grouped, gemm_f16_4x8_grouped,
  gemm_bf16_1x32_grouped, gemm_bf16_1x32_grouped, gemm_bf16_2x16_grouped, gemm_bf16_3x8_grouped, gemm_bf16_4x8_grouped,
  gemm_f32_1x32_u4_grouped, gemm_f32_1x32_u4_grouped, gemm_f32_1x32_u4_grouped, gemm_f32_1x32_u4_grouped, gemm_f32_1x32_u4_grouped,
  gemm_f16_1x32_u4_grouped, gemm_f16_1x32_u4_grouped, gemm_f16_2x16_u4_grouped, gemm_f16_3x8_u4_grouped, gemm_f16_4x8_u4_grouped,
  gemm_bf16_1x32_u4_grouped, gemm_bf16_1x32_u4_grouped, gemm_bf16_2x16_u4_grouped, gemm_bf16_3x8_u4_grouped, gemm_bf16_4x8_u4_grouped,
]
const FORMATS: i32 = 3
const FEW_ROWS: i32 = 4
/** Panels of those tiles, by rows. */
const FEW_ROWS_PANELS: StaticArray<i32> = [4, 4, 2, 1, 1]

/** Depth of a block: 256 rows of two panels stay in the first-level cache while the rows of A pass by. */
const BLOCK_DEPTH: i32 = 256
/** `length` 16-bit weights (a multiple of 8) to float32, exactly. */
function widen(format: WeightFormat, source: usize, length: i32, target: usize): void {
  const end = source + ((<usize>length) << 1)
  if (format == WeightFormat.Bfloat16) {
    for (; source < end; source += 16, target += 32) {
      v128.store(target, widenBfloat16(v128.load_ext<u16>(source)))
      v128.store(target, widenBfloat16(v128.load_ext<u16>(source, 8)), 16)
    }
    return
  }
  const mask = v128.load32_splat(FLOAT16_BITS)
  const scale = v128.load32_splat(FLOAT16_BITS, 4)
  for (; source < end; source += 16, target += 32) {
    v128.store(target, widenFloat16(v128.load_ext<i16>(source), mask, scale))
    v128.store(target, widenFloat16(v128.load_ext<i16>(source, 8), mask, scale), 16)
  }
}

/** Whether every value of a row, times 2^112, is finite, so that it can absorb the factor of float16 weights. */
function staysFinite(x: usize, width: i32): bool {
  let largest = f32x4.splat(0)
  let i = 0
  for (; i + 4 <= width; i += 4) largest = f32x4.max(largest, f32x4.abs(v128.load(x + floats(i))))
  let all = maxLanes(largest)
  for (; i < width; ++i) all = max(all, abs<f32>(load<f32>(x + floats(i))))
  return all < 32768
}

/** `Matmul`. */
export function matmul(op: usize, header: usize, partition: i32, partitions: i32): void {
  matmulShare(op, header, partition, partitions, partition)
}

/** One of the slices of a product that a single thread computes in sequence, in the first partition's workspace. */
export function matmulSlice(op: usize, header: usize, slice: i32, slices: i32): void {
  matmulShare(op, header, slice, slices, 0)
}

function matmulShare(op: usize, header: usize, partition: i32, partitions: i32, place: i32): void {
  const rows = count(op, Matmul.Rows, header)
  const groups = (word(op, Matmul.Panels) + GROUP - 1) / GROUP
  multiplyPartition(op, header, partition, partitions, place, rows, groups, word(op, Matmul.Projections), productGroups)
}

/** Some groups of a product's outputs, for `rows` rows from `row` on. */
function productGroups(op: usize, header: usize, place: i32, row: i32, rows: i32, firstGroup: i32, endGroup: i32): void {
  if (firstGroup == endGroup || rows == 0) return
  const depth = word(op, Matmul.Depth)
  const allPanels = word(op, Matmul.Panels)
  const shape = word(header, DispatchHeader.TileShape)
  const format = word(op, Matmul.Format)
  const lda = floats(word(op, Matmul.InputStride))
  const ldc = floats(word(op, Matmul.OutputStride))
  const input = operand(op, Matmul.Input, header) + <usize>row * lda
  const weights = operand(op, Matmul.Weights, header)
  const output = operand(op, Matmul.Output, header) + <usize>row * ldc
  const bias = operand(op, Matmul.Bias, header)
  const sums = operand(op, Matmul.AddTo, header)
  const addTo = sums ? sums + <usize>row * ldc : 0
  const activation = word(op, Matmul.Activation)
  const workspace = bufferAddress(header, BufferIndex.Workspace) + <usize>(place * WORKSPACE_BYTES)
  assert(((input | weights | output | lda | ldc) & 3) == 0, 'product: unaligned operand')

  const isNarrow = format != WeightFormat.Float32
  const elementBytes: usize = isNarrow ? 2 : 4
  const panelBytes = <usize>(depth * 8) * elementBytes
  const endPanel = min(endGroup * GROUP, allPanels)
  const end = weights + <usize>endPanel * panelBytes
  // few rows read each weight once, in one stream, so there is nothing to keep in a cache
  const inRegisters = rows == 1 ? format != WeightFormat.Float16 || staysFinite(input, depth) : isNarrow && rows <= FEW_ROWS
  // A single row passes over all whole groups in one call (decoding: 4 to 6 % faster)
  const isStream = inRegisters && rows == 1
  let panels = 0
  for (let panel = firstGroup * GROUP; panel < endPanel; panel += panels) {
    if (isStopped(header)) return
    const left = endPanel - panel
    panels = isStream && left > GROUP ? left & -GROUP : min(GROUP, left)
    const column = <usize>panel * PANEL_ROW
    const group = weights + <usize>panel * panelBytes
    const target = output + column
    if (inRegisters && panels >= GROUP) {
      const tile = unchecked(IN_STORAGE_FORMAT[(FORMATS * i32(kindOf(shape)) + format) * (FEW_ROWS + 1) + rows])
      const tiles = panels / unchecked(FEW_ROWS_PANELS[rows])
      const panelStride = isStream ? panelBytes : <usize>8 * elementBytes
      tile(tiles, depth, input, lda, group, <usize>(GROUP * 8) * elementBytes, panelStride, target, ldc, false)
    } else {
      // k is the inner loop: a group's outputs stay in the cache until they are finished
      for (let k = 0; k < depth || k == 0; k += BLOCK_DEPTH) {
        const block = min(BLOCK_DEPTH, depth - k)
        const kStride = <usize>panels * PANEL_ROW
        let from = group + <usize>(k * panels * 8) * elementBytes
        // blocks follow one another in memory
        const next = from + <usize>(block * panels * 8) * elementBytes
        // A single tile's rows read them in one stream, which hardware prefetches
        const nextBytes = rows > MAX_TILE_ROWS ? min(next - from, end - next) : 0
        if (isNarrow) {
          widen(format, from, block * panels * 8, workspace)
          from = workspace
        }
        gemm(shape, rows, block, input + floats(k), lda, from, kStride, PANEL_ROW, panels, target, ldc, k > 0, next, nextBytes)
      }
    }
    finishRows(rows, panels, target, ldc, bias ? bias + column : 0, activation, addTo ? addTo + column : 0)
  }
}
