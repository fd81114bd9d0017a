import { count, countOr, floatWord, floats, headerOfRow, operand, sequenceHeaders, word } from '../operands'
import { isStopped, partitionStart } from '../parallel'
import { DispatchHeader } from '../ir/header'
import { Attention } from '../ir/ops'
import { TileShape } from '../ir/values'
import { PANEL_ROW, gemm } from './gemm'
import { readAhead, readValuesAhead } from './read-ahead'
import { softmax } from './softmax'
import { TILE_ROWS } from './tile-shapes'

/*
 * Scores are one product of queries and keys, outputs another of weights and values (`key-value-layout.ts`). A hidden key
 * inside a tile's range has weight +0, which does not change the bits of either sum.
 */

/** Multiplies `width` floats, a multiple of 8. */
export function scaleHead(x: usize, width: i32, scale: f32): void {
  const scales = f32x4.splat(scale)
  for (let i = 0; i < width; i += 8, x += 32) {
    v128.store(x, f32x4.mul(v128.load(x), scales))
    v128.store(x, f32x4.mul(v128.load(x, 16), scales), 16)
  }
}

/**
 * Computes a tile of rows of one head: row i attends to keys `end` + i·`advance` - `window` … `end` + i·`advance` - 1
 * (from 0). `scores`, with `scoreStride` floats per row, holds the scores from the product to the weighted sum.
 */
function attend(
  shape: TileShape,
  rows: i32,
  queries: usize,
  queryStride: usize,
  keys: usize,
  values: usize,
  capacity: i32,
  width: i32,
  headStride: i32,
  end: i32,
  advance: i32,
  window: i32,
  scores: usize,
  scoreStride: i32,
  scale: f32,
  output: usize,
  outputStride: usize,
): void {
  const firstKey = max(0, end - window)
  const firstPanel = firstKey >> 3
  const lastEnd = end + (rows - 1) * advance
  const panels = ((lastEnd + 7) >> 3) - firstPanel
  assert(panels * 8 <= scoreStride && lastEnd <= capacity, 'attention: keys beyond the buffer')
  const base = firstPanel << 3
  const columns = panels << 3
  const rowSize = floats(scoreStride)
  const panelStride = floats(headStride) * 8

  if (rows == 1) {
    const size = (<usize>panels * panelStride) >> 3
    readAhead(keys + <usize>firstPanel * panelStride, size, 4 * size, size, scores)
  }
  gemm(
    shape,
    rows,
    width,
    queries,
    queryStride,
    keys + <usize>firstPanel * panelStride,
    PANEL_ROW,
    panelStride,
    panels,
    scores,
    rowSize,
    false,
  )
  for (let row = 0; row < rows; ++row) {
    const at = scores + <usize>row * rowSize
    const rowEnd = end + row * advance
    // the reciprocals are stored after the scores until the weighted sums are done
    store<f32>(
      scores + <usize>TILE_ROWS * rowSize + floats(row),
      softmax(at, max(0, rowEnd - window) - base, rowEnd - base, columns, scale),
    )
  }
  const skipped = firstKey - base
  const valueStride = floats(capacity) * 8
  if (rows == 1) {
    const from = values + floats(firstKey) * 8
    const size = floats(lastEnd - firstKey) * 8
    readValuesAhead(from, valueStride, headStride >> 3, size, scores + <usize>TILE_ROWS * rowSize + 16)
  }
  gemm(
    shape,
    rows,
    lastEnd - firstKey,
    scores + floats(skipped),
    rowSize,
    values + floats(firstKey) * 8,
    PANEL_ROW,
    valueStride,
    headStride >> 3,
    output,
    outputStride,
    false,
  )
  for (let row = 0; row < rows; ++row) {
    scaleHead(output + <usize>row * outputStride, headStride, load<f32>(scores + <usize>TILE_ROWS * rowSize + floats(row)))
  }
}

/** Bytes of scores needed per partition: a tile's rows and their reciprocals. */
// @ts-ignore: decorator
@inline
function scoreBytes(scoreStride: i32): usize {
  return floats(scoreStride * TILE_ROWS + 8)
}

/**
 * `Attention`: for each context, (head, tile of rows) pairs are split head by head, so that a head's keys stay in the
 * cache, and by whole heads if their number is divisible by the number of partitions; skipped barriers rely on that.
 */
export function attention(op: usize, header: usize, partition: i32, partitions: i32): void {
  attendPartition(op, header, partition, partitions, partition)
}

/** One of the slices that a single thread computes in sequence, using the first partition's scores. */
export function attentionSlice(op: usize, header: usize, slice: i32, slices: i32): void {
  attendPartition(op, header, slice, slices, 0)
}

/** A partition, using the working memory of partition `scratch`. */
function attendPartition(op: usize, header: usize, partition: i32, partitions: i32, scratch: i32): void {
  const heads = word(op, Attention.Heads)
  const sequences = sequenceHeaders(header)
  if (sequences) {
    const head = partitionStart(heads, partition, partitions)
    return attendSequences(op, header, sequences, head, partitionStart(heads, partition + 1, partitions), scratch)
  }
  const starts = operand(op, Attention.Starts, header)
  const contexts = starts ? max(1, word(header, DispatchHeader.Windows)) : 1
  for (let context = 0; context < contexts; ++context) {
    const firstRow = starts ? load<i32>(starts + floats(context)) : 0
    const rows = starts ? load<i32>(starts + floats(context), 4) - firstRow : count(op, Attention.Rows, header)
    const tasks = heads * ((rows + TILE_ROWS - 1) / TILE_ROWS)
    attendContext(
      op,
      header,
      context,
      firstRow,
      rows,
      partitionStart(tasks, partition, partitions),
      partitionStart(tasks, partition + 1, partitions),
      scratch,
    )
  }
}

/** Heads `head` … `end` - 1 of rows that belong to several sequences: each row is one context's, under its own header. */
function attendSequences(op: usize, header: usize, sequences: usize, head: i32, end: i32, scratch: i32): void {
  const rows = count(op, Attention.Rows, header)
  const indices = operand(op, Attention.Indices, header)
  for (let row = 0; row < rows; ++row) {
    const own = headerOfRow(header, sequences, indices ? load<i32>(indices + floats(row)) : row)
    attendContext(op, own, 0, row, 1, head, end, scratch)
  }
}

/** Tasks `task` … `end` - 1 of one context's rows, which begin at `firstRow`. */
function attendContext(op: usize, header: usize, context: i32, firstRow: i32, rows: i32, task: i32, end: i32, scratch: i32): void {
  if (task >= end) return
  const headStride = word(op, Attention.HeadStride)
  const capacity = word(op, Attention.Capacity)
  const queryStride = floats(word(op, Attention.QueryStride))
  const outputStride = floats(word(op, Attention.OutputStride))
  const scoreStride = word(op, Attention.ScoreStride)
  const advance = word(op, Attention.Advance)
  const headSize = floats(headStride * capacity)
  const contextOffset = floats(context * word(op, Attention.ContextStride))
  const first = countOr(op, Attention.First, header, 0)
  const visible = load<i32>(operand(op, Attention.End, header) + floats(context)) + 1 + first * advance
  const queries = operand(op, Attention.Queries, header) + <usize>(firstRow + first) * queryStride
  const keys = operand(op, Attention.Keys, header) + contextOffset
  const values = operand(op, Attention.Values, header) + contextOffset
  const output = operand(op, Attention.Output, header) + <usize>firstRow * outputStride
  const scores = operand(op, Attention.Scores, header) + <usize>scratch * scoreBytes(scoreStride)
  const shape = word(header, DispatchHeader.TileShape)
  const tiles = (rows + TILE_ROWS - 1) / TILE_ROWS
  for (; task < end; ++task) {
    if (isStopped(header)) return
    const head = task / tiles
    const row = (task % tiles) * TILE_ROWS
    const column = floats(head * headStride)
    attend(
      shape,
      min(TILE_ROWS, rows - row),
      queries + <usize>row * queryStride + column,
      queryStride,
      keys + <usize>head * headSize,
      values + <usize>head * headSize,
      capacity,
      word(op, Attention.HeadWidth),
      headStride,
      visible + row * advance,
      advance,
      word(op, Attention.Window),
      scores,
      scoreStride,
      floatWord(op, Attention.Scale),
      output + <usize>row * outputStride + column,
      outputStride,
    )
  }
}
