import { MAX_TILE_ROWS } from '../ir/sizes'
import { IntegerDot, TileShape } from '../ir/values'
import {
  gemm_f32_1x16_u4,
  gemm_f32_1x24,
  gemm_f32_1x24_u4,
  gemm_f32_1x8,
  gemm_f32_1x8_u4,
  gemm_f32_2x16_u4,
  gemm_f32_2x24,
  gemm_f32_2x24_u4,
  gemm_f32_2x8,
  gemm_f32_2x8_u4,
  gemm_f32_3x16_u4,
  gemm_f32_3x8,
  gemm_f32_3x8_u4,
  gemm_f32_4x16_u4,
  gemm_f32_4x8,
  gemm_f32_4x8_u4,
  gemm_f32_5x16_u4,
  gemm_f32_5x8,
  gemm_f32_5x8_u4,
  gemm_f32_6x16_u4,
  gemm_f32_6x8,
  gemm_f32_6x8_u4,
  gemm_s16_1x8,
  gemm_s16_2x8,
  gemm_s16_3x8,
  gemm_s16_4x8,
  gemm_s16_5x8,
  gemm_s8_1x8,
  gemm_s8_2x8,
  gemm_s8_3x8,
  gemm_s8_4x8,
  gemm_s8_5x8,
  gemm_s8_6x8,
  gemm_s8p_1x8,
  gemm_s8p_2x8,
  gemm_s8p_3x8,
  gemm_s8p_4x8,
  gemm_s8p_5x8,
  gemm_s8p_6x8,
} from './tiles'

/**
 * A micro-kernel of `kernels/tiles.ts`: `count` tiles side by side, each C (rows × columns) = A · B, or C + A · B if
 * `accumulate`. All strides are in bytes.
 */
export type Tile = (
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
) => void

/** A shape of tiles: a `TileShape`, or that of an `IntegerDot` (`integerTile`). */
export type MatmulTile = i32

/** The tile for integers, whose k counts steps of four bytes. */
// @ts-ignore: decorator
@inline
export function integerTile(dot: IntegerDot): MatmulTile {
  return <i32>TileShape.Length + <i32>dot
}

/** What tables of tiles for few rows are indexed by. */
export enum TileKind {
  Float,
  /** k unrolled by four. */
  FloatUnrolled,
  Int8,
  Int16,
  Int8Pairs,
}

/**
 * Rows of the tallest tile: two vectors of B and twelve of C take fourteen of fifteen registers and leave one for A;
 * unfused arithmetic needs another, for the separately rounded product.
 */
export const TILE_ROWS: i32 = ASC_FEATURE_RELAXED_SIMD ? MAX_TILE_ROWS : MAX_TILE_ROWS - 1

/** Entries per shape in the table below: heights 0 (never used) to 6. */
const HEIGHTS: i32 = 7

/*
 * The tiles, in the order of `TileShape`, then of `IntegerDot`. They are called through tables, never by name: a function with a single
 * caller would be inlined into it, and one large function stays in V8's baseline tier for its whole first run
 * (docs/kernel-pitfalls.md#tiering).
 */
// prettier-ignore
const TILES: StaticArray<Tile> = [
  gemm_f32_1x8, gemm_f32_1x8, gemm_f32_2x8, gemm_f32_3x8, gemm_f32_4x8, gemm_f32_5x8, gemm_f32_6x8,
  gemm_f32_1x8_u4, gemm_f32_1x8_u4, gemm_f32_2x8_u4, gemm_f32_3x8_u4, gemm_f32_4x8_u4, gemm_f32_5x8_u4, gemm_f32_6x8_u4,
  gemm_f32_1x24, gemm_f32_1x24, gemm_f32_2x24, gemm_f32_2x24, gemm_f32_2x24, gemm_f32_2x24, gemm_f32_2x24,
  gemm_f32_1x24_u4, gemm_f32_1x24_u4, gemm_f32_2x24_u4, gemm_f32_2x24_u4, gemm_f32_2x24_u4, gemm_f32_2x24_u4, gemm_f32_2x24_u4,
  gemm_f32_1x16_u4, gemm_f32_1x16_u4, gemm_f32_2x16_u4, gemm_f32_3x16_u4, gemm_f32_4x16_u4, gemm_f32_5x16_u4, gemm_f32_6x16_u4,
  gemm_s16_1x8, gemm_s16_1x8, gemm_s16_2x8, gemm_s16_3x8, gemm_s16_4x8, gemm_s16_5x8, gemm_s16_5x8,
  gemm_s8_1x8, gemm_s8_1x8, gemm_s8_2x8, gemm_s8_3x8, gemm_s8_4x8, gemm_s8_5x8, gemm_s8_6x8,
  gemm_s8p_1x8, gemm_s8p_1x8, gemm_s8p_2x8, gemm_s8p_3x8, gemm_s8p_4x8, gemm_s8p_5x8, gemm_s8p_6x8,
]
const ROWS: StaticArray<i32> = [TILE_ROWS, TILE_ROWS, 2, 2, TILE_ROWS, 5, 6, 6]
const PANELS: StaticArray<i32> = [1, 1, 3, 3, 2, 1, 1, 1]
const KINDS: StaticArray<TileKind> = [
  TileKind.Float,
  TileKind.FloatUnrolled,
  TileKind.Float,
  TileKind.FloatUnrolled,
  TileKind.FloatUnrolled,
  TileKind.Int16,
  TileKind.Int8,
  TileKind.Int8Pairs,
]
/** The one-panel shape used for leftover panels. */
const LEFTOVER: StaticArray<MatmulTile> = [
  TileShape.Gemm6x8,
  TileShape.Gemm6x8Unrolled,
  TileShape.Gemm6x8,
  TileShape.Gemm6x8Unrolled,
  TileShape.Gemm6x8Unrolled,
  TileShape.Length + IntegerDot.Int16x2,
  TileShape.Length + IntegerDot.Int8x4,
  TileShape.Length + IntegerDot.Int8x2x2,
]

/** Rows of a shape's tile. */
export function rowsOf(shape: MatmulTile): i32 {
  return unchecked(ROWS[shape])
}

/** Panels of a shape's tile. */
export function panelsOf(shape: MatmulTile): i32 {
  return unchecked(PANELS[shape])
}

export function kindOf(shape: MatmulTile): TileKind {
  return unchecked(KINDS[shape])
}

export function leftoverShape(shape: MatmulTile): MatmulTile {
  return unchecked(LEFTOVER[shape])
}

/** The shape's tile of a height from 1 to its rows. */
export function tileOf(shape: MatmulTile, height: i32): Tile {
  return unchecked(TILES[shape * HEIGHTS + height])
}
