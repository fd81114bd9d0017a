import {
  gemm_f32_1x16,
  gemm_f32_1x16_u4,
  gemm_f32_1x32,
  gemm_f32_1x32_grouped,
  gemm_f32_1x32_u4,
  gemm_f32_1x32_u4_grouped,
  gemm_f32_2x16,
  gemm_f32_2x16_u4,
  gemm_f32_3x16,
  gemm_f32_3x16_u4,
  gemm_s16_1x8,
  gemm_s8_1x16,
  gemm_s8_2x16,
  gemm_s8p_1x16,
  gemm_s8p_2x16,
} from './tiles'
import { MatmulTile, Tile, TileKind, kindOf, leftoverShape, panelsOf, rowsOf, tileOf } from './tile-shapes'

/*
 * Few rows process several panels at once, whatever the tile shape, to have enough chains to hide the latency of an
 * addition. They unroll k by four if the shape does, since the same engines gain from it (one row 7 % on Node 24, 15 %
 * on Deno) or lose (15 % on Node 22).
 */
/** Indexed by `TileKind`, then by rows from 0 (never used) to 3. */
// prettier-ignore
const TWO_PANELS: StaticArray<Tile> = [
  gemm_f32_1x16, gemm_f32_1x16, gemm_f32_2x16, gemm_f32_3x16,
  gemm_f32_1x16_u4, gemm_f32_1x16_u4, gemm_f32_2x16_u4, gemm_f32_3x16_u4,
  gemm_s8_1x16, gemm_s8_1x16, gemm_s8_2x16, gemm_s8_2x16,
  gemm_s16_1x8, gemm_s16_1x8, gemm_s16_1x8, gemm_s16_1x8,
  gemm_s8p_1x16, gemm_s8p_1x16, gemm_s8p_2x16, gemm_s8p_2x16,
]
/** Most rows of those, by `TileKind`: three of integers would spill. */
const TWO_PANELS_ROWS: StaticArray<i32> = [3, 3, 2, 0, 2]
/** Indexed by `TileKind`, of floats, then by whether panels are grouped. */
// prettier-ignore
const FOUR_PANELS: StaticArray<Tile> = [
  gemm_f32_1x32, gemm_f32_1x32_grouped,
  gemm_f32_1x32_u4, gemm_f32_1x32_u4_grouped,
]

/** Bytes of one row of a panel. */
export const PANEL_ROW: usize = 32
/** Panels per group of packed weights: the number that one row processes at once. */
export const GROUP: i32 = 4

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
  shape: MatmulTile,
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
  shape: MatmulTile,
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
  const kind = kindOf(shape)
  let panel = 0
  // a single row of integers has kernels of its own, except for a group's leftover panels
  if (rows == 1 && kind < TileKind.Int8) {
    const row = unchecked(FOUR_PANELS[2 * kind + i32(panelStride == PANEL_ROW)])
    row(panels >> 2, k, a, lda, b, kStride, panelStride, c, ldc, accumulate)
    panel = panels & ~3
  }
  const most = unchecked(TWO_PANELS_ROWS[kind])
  if (rows <= most) {
    const few = unchecked(TWO_PANELS[4 * kind + rows])
    const from = b + <usize>panel * panelStride
    const column = <usize>panel * PANEL_ROW
    few((panels - panel) >> 1, k, a, lda, from, kStride, panelStride, c + column, ldc, accumulate)
    panel = panels & ~1
  }
  const width = panelsOf(shape)
  const nextOfPanel = nextBytes / <usize>panels
  if (rows > most && width > 1) {
    for (; panel + width <= panels; panel += width) {
      const from = b + <usize>panel * panelStride
      const to = c + <usize>panel * PANEL_ROW
      gemmStrip(shape, rows, k, a, lda, from, kStride, panelStride, 1, to, ldc, accumulate, next, <usize>width * nextOfPanel)
      next += <usize>width * nextOfPanel
    }
  }
  const leftover = leftoverShape(shape)
  // with a single tile of rows, no panel is needed twice
  const side = rows <= rowsOf(leftover) ? panels : STRIP
  for (; panel < panels; panel += side) {
    const repeat = min(side, panels - panel)
    const from = b + <usize>panel * panelStride
    const to = c + <usize>panel * PANEL_ROW
    gemmStrip(leftover, rows, k, a, lda, from, kStride, panelStride, repeat, to, ldc, accumulate, next, <usize>repeat * nextOfPanel)
    next += <usize>repeat * nextOfPanel
  }
}
