import { geluLanes } from '../math'
import { count, floats, operand, word } from '../operands'
import { shareStart } from '../parallel'
import { Activation, Product } from '../steps'
import { tile1x16, tile1x32, tile1x32Joined, tile1x8, tile2x16, tile2x8, tile3x16, tile3x8, tile4x8, tile5x8, tile6x8 } from './tiles'

type Tile = (k: i32, a: usize, lda: usize, b: usize, kStride: usize, panelStride: usize, c: usize, ldc: usize, accumulate: bool) => void

/*
 * Tiles are reached through tables, never by name: a function with one caller would be inlined into it, and one large function stays in V8's
 * baseline tier for its whole first run (docs/KERNELS.md, pitfall 11).
 */
const ONE_PANEL: StaticArray<Tile> = [tile1x8, tile1x8, tile2x8, tile3x8, tile4x8, tile5x8, tile6x8]
const TWO_PANELS: StaticArray<Tile> = [tile1x16, tile1x16, tile2x16, tile3x16]
const FOUR_PANELS: StaticArray<Tile> = [tile1x32, tile1x32Joined]

/** Rows of the largest tile: 6 rows leave no register for the product that unfused arithmetic rounds on its own. */
export const TILE_ROWS: i32 = ASC_FEATURE_RELAXED_SIMD ? 6 : 5

/** Bytes of one row of a panel. */
export const PANEL_ROW: usize = 32
/** Panels of a group of packed weights: what one row takes at once. */
const GROUP: i32 = 4

/** Depth of a block: 256 rows of a panel, and the lines that its group shares with it, stay in the first-level cache while the rows of A pass. */
const BLOCK_DEPTH: i32 = 256

/**
 * C (rows × 8·panels) = A · B, or C + A · B. A is row-major; B in panels, `panelStride` bytes from one to the next and `kStride` from a row to the next.
 * Few rows take several panels at once, so that
 * there are enough chains to hide the latency of an addition. Every output is one chain in ascending k, whatever the tile.
 */
export function multiply(
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
): void {
  let panel = 0
  if (rows == 1) {
    const tile = unchecked(FOUR_PANELS[panelStride == PANEL_ROW ? 1 : 0])
    for (; panel + 4 <= panels; panel += 4) {
      tile(k, a, lda, b + <usize>panel * panelStride, kStride, panelStride, c + <usize>panel * 32, ldc, accumulate)
    }
  }
  if (rows <= 3) {
    const tile = unchecked(TWO_PANELS[rows])
    for (; panel + 2 <= panels; panel += 2) {
      tile(k, a, lda, b + <usize>panel * panelStride, kStride, panelStride, c + <usize>panel * 32, ldc, accumulate)
    }
  }
  for (; panel < panels; ++panel) {
    const at = b + <usize>panel * panelStride
    let target = c + <usize>panel * 32
    let source = a
    let left = rows
    while (left > 0) {
      // two tiles of nearly equal height end the rows better than a full one and a sliver
      const height = left >= 2 * TILE_ROWS || left <= TILE_ROWS ? min(left, TILE_ROWS) : (left + 1) >> 1
      const tile = unchecked(ONE_PANEL[height])
      tile(k, source, lda, at, kStride, panelStride, target, ldc, accumulate)
      source += <usize>height * lda
      target += <usize>height * ldc
      left -= height
    }
  }
}

/** What follows the last k, in this order: bias, activation, addition to `addTo`. One panel's 8 columns. */
function finish(rows: i32, c: usize, ldc: usize, bias: usize, activation: i32, addTo: usize): void {
  const zero = f32x4.splat(0)
  const bias0 = bias ? v128.load(bias) : zero
  const bias1 = bias ? v128.load(bias, 16) : zero
  for (let row = 0; row < rows; ++row) {
    let v0 = v128.load(c)
    let v1 = v128.load(c, 16)
    if (bias) {
      v0 = f32x4.add(v0, bias0)
      v1 = f32x4.add(v1, bias1)
    }
    if (activation == Activation.Gelu) {
      v0 = geluLanes(v0)
      v1 = geluLanes(v1)
    }
    if (addTo) {
      v128.store(addTo, f32x4.add(v128.load(addTo), v0))
      v128.store(addTo, f32x4.add(v128.load(addTo, 16), v1), 16)
      addTo += ldc
    } else {
      v128.store(c, v0)
      v128.store(c, v1, 16)
    }
    c += ldc
  }
}

/** `Product`: panels of outputs are shared out, so each weight is read by one thread. */
export function product(step: usize, piece: usize, share: i32, shares: i32): void {
  const rows = count(step, Product.Rows, piece)
  if (rows == 0) return
  const depth = word(step, Product.Depth)
  // shares are cut between groups
  const groups = (word(step, Product.Panels) + 3) >> 2
  const first = shareStart(groups, share, shares) << 2
  const end = min(shareStart(groups, share + 1, shares) << 2, word(step, Product.Panels))
  if (first >= end) return

  const lda = floats(word(step, Product.InputStride))
  const ldc = floats(word(step, Product.OutputStride))
  const input = operand(step, Product.Input, piece)
  const weights = operand(step, Product.Weights, piece)
  const output = operand(step, Product.Output, piece)
  assert(((input | weights | output | lda | ldc) & 3) == 0, 'product: unaligned operand')

  // one row reads each weight once, in one stream: nothing to keep in a cache
  const blockDepth = rows == 1 ? max(depth, 1) : BLOCK_DEPTH
  for (let k = 0; k < depth || k == 0; k += blockDepth) {
    const block = min(blockDepth, depth - k)
    for (let panel = first; panel < end; panel += GROUP) {
      const panels = min(GROUP, word(step, Product.Panels) - panel)
      const kStride = <usize>panels * PANEL_ROW
      const group = weights + <usize>(panel * depth) * PANEL_ROW + <usize>k * kStride
      multiply(rows, block, input + floats(k), lda, group, kStride, PANEL_ROW, panels, output + <usize>panel * PANEL_ROW, ldc, k > 0)
    }
  }

  const bias = operand(step, Product.Bias, piece)
  const addTo = operand(step, Product.AddTo, piece)
  const activation = word(step, Product.Activation)
  if (bias == 0 && addTo == 0 && activation == Activation.None) return
  for (let panel = first; panel < end; ++panel) {
    const column = <usize>panel * 32
    finish(rows, output + column, ldc, bias ? bias + column : 0, activation, addTo ? addTo + column : 0)
  }
}
