import { HALF, geluLanes, maxLanes, widenBrainHalves, widenHalves } from '../math'
import { bufferAddress, count, floats, operand, word } from '../operands'
import { isStopped, partitionStart } from '../parallel'
import { BufferIndex, DispatchHeader } from '../ir/header'
import { Matmul } from '../ir/ops'
import { MOST_TILE_ROWS, WORKSPACE_BYTES } from '../ir/sizes'
import { Activation, TileShape, WeightFormat } from '../ir/values'
import { Tile, isUnrolled, leftoverShape, panelsOf, rowsOf, tileOf } from './tile-shapes'
import {
  gemm_f32_1x16,
  gemm_f32_1x16_u4,
  gemm_f32_1x32,
  gemm_f32_1x32_u4,
  gemm_f32_1x32_u4_grouped,
  gemm_bf16_1x32_u4_grouped,
  gemm_f16_1x32_u4_grouped,
  gemm_f32_1x32_grouped,
  gemm_bf16_1x32_grouped,
  gemm_f16_1x32_grouped,
  gemm_f32_2x16,
  gemm_f32_2x16_u4,
  gemm_bf16_2x16_u4_grouped,
  gemm_f16_2x16_u4_grouped,
  gemm_bf16_2x16_grouped,
  gemm_f16_2x16_grouped,
  gemm_f32_3x16,
  gemm_f32_3x16_u4,
  gemm_bf16_3x8_u4_grouped,
  gemm_f16_3x8_u4_grouped,
  gemm_bf16_3x8_grouped,
  gemm_f16_3x8_grouped,
  gemm_bf16_4x8_u4_grouped,
  gemm_f16_4x8_u4_grouped,
  gemm_bf16_4x8_grouped,
  gemm_f16_4x8_grouped,
} from './tiles'

/*
 * Few rows process several panels at once, whatever the tile shape, to have enough chains to hide the latency of an
 * addition. They unroll k by four if the shape does, since the same engines gain from it (one row 7 % on Node 24, 15 %
 * on Deno) or lose (15 % on Node 22).
 */
/** Indexed by whether k is unrolled, then by rows from 0 (never used) to 3. */
// prettier-ignore
const TWO_PANELS: StaticArray<Tile> = [
  gemm_f32_1x16, gemm_f32_1x16, gemm_f32_2x16, gemm_f32_3x16,
  gemm_f32_1x16_u4, gemm_f32_1x16_u4, gemm_f32_2x16_u4, gemm_f32_3x16_u4,
]
/** Indexed by whether k is unrolled, then by whether panels are grouped. */
const FOUR_PANELS: StaticArray<Tile> = [gemm_f32_1x32, gemm_f32_1x32_grouped, gemm_f32_1x32_u4, gemm_f32_1x32_u4_grouped]
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

/** Bytes of one row of a panel. */
export const PANEL_ROW: usize = 32
/** Panels per group of packed weights: the number that one row processes at once. */
const GROUP: i32 = 4

/** Depth of a block: 256 rows of two panels stay in the first-level cache while the rows of A pass by. */
const BLOCK_DEPTH: i32 = 256
/**
 * Panels that pass over a tile's rows of A while these are in the first-level cache: the two that share cache lines in
 * a group.
 */
const STRIP: i32 = 2

/** Bytes per cache line. */
const CACHE_LINE: usize = 64

/**
 * Prefetches from `from` to `end`, and returns where it ended. Loads of unused values are not optimised away, since
 * they may trap.
 */
// @ts-ignore: decorator
@inline
function prefetch(from: usize, end: usize): usize {
  for (; from < end; from += CACHE_LINE) load<i32>(from)
  return from
}

/**
 * A strip of tiles down the rows, `repeat` of them side by side, while prefetching `nextBytes` from `next`, a few lines
 * after each tile: the next operands are then in the cache when needed (4 MB of weights in a third-level cache, times
 * 128 rows: 2 to 4 % less time).
 */
function gemmStrip(
  shape: TileShape,
  rows: i32,
  k: i32,
  a: usize,
  lda: usize,
  b: usize,
  kStride: usize,
  panelStride: usize,
  repeat: i32,
  c: usize,
  ldc: usize,
  accumulate: bool,
  next: usize,
  nextBytes: usize,
): void {
  const most = rowsOf(shape)
  const nextEnd = next + nextBytes
  const behindEach = nextBytes / <usize>((rows + most - 1) / most) + CACHE_LINE
  let left = rows
  while (left > 0) {
    // two tiles of nearly equal height finish the rows faster than a full one and a sliver
    const height = left >= 2 * most || left <= most ? min(left, most) : (left + 1) >> 1
    tileOf(shape, height)(repeat, k, a, lda, b, kStride, panelStride, c, ldc, accumulate)
    a += <usize>height * lda
    c += <usize>height * ldc
    left -= height
    next = prefetch(next, min(next + behindEach, nextEnd))
  }
}

/**
 * C (rows × 8·panels) = A · B, or C + A · B. A is row-major; B consists of panels `panelStride` bytes apart, with rows
 * `kStride` apart. Every output is one chain in ascending k, whatever the tile. The `nextBytes` from `next` are
 * multiplied next.
 */
export function gemm(
  shape: TileShape,
  rows: i32,
  k: i32,
  a: usize,
  lda: usize,
  b: usize,
  kStride: usize,
  panelStride: usize,
  panels: i32,
  c: usize,
  ldc: usize,
  accumulate: bool,
  next: usize = 0,
  nextBytes: usize = 0,
): void {
  const unrolled = isUnrolled(shape)
  let panel = 0
  if (rows == 1) {
    const tile = unchecked(FOUR_PANELS[2 * unrolled + i32(panelStride == PANEL_ROW)])
    tile(panels >> 2, k, a, lda, b, kStride, panelStride, c, ldc, accumulate)
    panel = panels & ~3
  }
  if (rows <= 3) {
    const tile = unchecked(TWO_PANELS[4 * unrolled + rows])
    const from = b + <usize>panel * panelStride
    const column = <usize>panel * PANEL_ROW
    tile((panels - panel) >> 1, k, a, lda, from, kStride, panelStride, c + column, ldc, accumulate)
    panel = panels & ~1
  }
  const width = panelsOf(shape)
  const nextOfPanel = nextBytes / <usize>panels
  if (rows > 3 && width > 1) {
    for (; panel + width <= panels; panel += width) {
      const from = b + <usize>panel * panelStride
      const to = c + <usize>panel * PANEL_ROW
      gemmStrip(shape, rows, k, a, lda, from, kStride, panelStride, 1, to, ldc, accumulate, next, <usize>width * nextOfPanel)
      next += <usize>width * nextOfPanel
    }
  }
  const leftover = leftoverShape(shape)
  // with a single tile of rows, no panel is needed twice
  const most = rows <= rowsOf(leftover) ? panels : STRIP
  for (; panel < panels; panel += most) {
    const repeat = min(most, panels - panel)
    const from = b + <usize>panel * panelStride
    const to = c + <usize>panel * PANEL_ROW
    gemmStrip(leftover, rows, k, a, lda, from, kStride, panelStride, repeat, to, ldc, accumulate, next, <usize>repeat * nextOfPanel)
    next += <usize>repeat * nextOfPanel
  }
}

/**
 * Operations after the last k, in this order: bias, activation, addition to `addTo`. Row by row, since rows may be a
 * multiple of 4 KiB apart, of which a first-level cache holds only a dozen.
 */
function finish(rows: i32, panels: i32, c: usize, ldc: usize, bias: usize, activation: i32, addTo: usize): void {
  if (bias == 0 && addTo == 0 && activation == Activation.None) return
  const width = <usize>panels * PANEL_ROW
  for (let row = 0; row < rows; ++row) {
    for (let at: usize = 0; at < width; at += PANEL_ROW) {
      let v0 = v128.load(c + at)
      let v1 = v128.load(c + at, 16)
      if (bias) {
        v0 = f32x4.add(v0, v128.load(bias + at))
        v1 = f32x4.add(v1, v128.load(bias + at, 16))
      }
      if (activation == Activation.Gelu) {
        v0 = geluLanes(v0)
        v1 = geluLanes(v1)
      }
      const target = addTo ? addTo + at : c + at
      if (addTo) {
        v0 = f32x4.add(v128.load(target), v0)
        v1 = f32x4.add(v128.load(target, 16), v1)
      }
      v128.store(target, v0)
      v128.store(target, v1, 16)
    }
    c += ldc
    if (addTo) addTo += ldc
  }
}

/** `length` 16-bit weights (a multiple of 8) to float32, exactly. */
function widen(format: WeightFormat, source: usize, length: i32, target: usize): void {
  const end = source + ((<usize>length) << 1)
  if (format == WeightFormat.Bfloat16) {
    for (; source < end; source += 16, target += 32) {
      v128.store(target, widenBrainHalves(v128.load_ext<u16>(source)))
      v128.store(target, widenBrainHalves(v128.load_ext<u16>(source, 8)), 16)
    }
    return
  }
  const mask = v128.load32_splat(HALF)
  const scale = v128.load32_splat(HALF, 4)
  for (; source < end; source += 16, target += 32) {
    v128.store(target, widenHalves(v128.load_ext<i16>(source), mask, scale))
    v128.store(target, widenHalves(v128.load_ext<i16>(source, 8), mask, scale), 16)
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

/** `Matmul`: split by groups of panels, so each weight is read by one thread; by rows if there are too few groups. */
export function matmul(op: usize, header: usize, partition: i32, partitions: i32): void {
  multiplyShare(op, header, partition, partitions, partition)
}

/** One of the slices of a product that a single thread computes in sequence, in the first partition's workspace. */
export function productSlice(op: usize, header: usize, slice: i32, slices: i32): void {
  multiplyShare(op, header, slice, slices, 0)
}

/** A partition, in the workspace of partition `place`. */
function multiplyShare(op: usize, header: usize, partition: i32, partitions: i32, place: i32): void {
  const rows = count(op, Matmul.Rows, header)
  if (rows == 0) return
  const groups = (word(op, Matmul.Panels) + GROUP - 1) / GROUP
  if (groups < partitions) {
    const row = partitionStart(rows, partition, partitions)
    productGroups(op, header, place, row, partitionStart(rows, partition + 1, partitions) - row, 0, groups)
    return
  }
  const projections = max(word(op, Matmul.Projections), 1)
  for (let projection = 0; projection < projections; ++projection) {
    const start = partitionStart(groups, projection, projections)
    const length = partitionStart(groups, projection + 1, projections) - start
    productGroups(
      op,
      header,
      place,
      0,
      rows,
      start + partitionStart(length, partition, partitions),
      start + partitionStart(length, partition + 1, partitions),
    )
  }
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
      const tile = unchecked(IN_STORAGE_FORMAT[(FORMATS * isUnrolled(shape) + format) * (FEW_ROWS + 1) + rows])
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
        const nextBytes = rows > MOST_TILE_ROWS ? min(next - from, end - next) : 0
        if (isNarrow) {
          widen(format, from, block * panels * 8, workspace)
          from = workspace
        }
        gemm(shape, rows, block, input + floats(k), lda, from, kStride, PANEL_ROW, panels, target, ldc, k > 0, next, nextBytes)
      }
    }
    finish(rows, panels, target, ldc, bias ? bias + column : 0, activation, addTo ? addTo + column : 0)
  }
}
