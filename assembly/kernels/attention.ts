import { EXP2, exp2Vector, laneMask, LOG2_E, maxLanes, sumLanes } from '../math'
import { count, countOr, floatWord, floats, headerOfRow, operand, sequenceHeaders, word } from '../operands'
import { isStopped, partitionStart } from '../parallel'
import { DispatchHeader } from '../ir/header'
import { Attention, LocalStore } from '../ir/ops'
import { TileShape } from '../ir/values'
import { PANEL_ROW, gemm } from './gemm'
import { readAhead, readValuesAhead } from './read-ahead'
import { rotateHead } from './rotary'
import { TILE_ROWS } from './tile-shapes'

/*
 * Keys are laid out across lanes, [key / 8][channel][8 keys], so that a score is one chain over channels. Values are
 * laid out as [channel / 8][key][8 channels], so that an output is one chain over keys, ascending. A hidden key inside
 * a tile's range has weight +0, which does not change the bits of either sum.
 */

/**
 * Softmax of scores `first` … `end` - 1 in place; the others up to `columns` (a multiple of 4, like the row's address)
 * become +0. Returns 1 / sum. The maximum is found first, followed by one pass of exponentials summed in four lanes by
 * column modulo 4, ascending.
 */
export function softmax(row: usize, first: i32, end: i32, columns: i32, scale: f32): f32 {
  let x = row + floats(first & ~3)
  const stop = row + floats(end)
  fillZeros(row, x)

  const hidden = f32x4.splat(-Infinity)
  const headMask = v128.not(laneMask(first & 3))
  const tailMask = laneMask(((end - 1) & 3) + 1)
  const lastVector = row + floats((end - 1) & ~3)
  v128.store(x, v128.bitselect(v128.load(x), hidden, headMask))
  v128.store(lastVector, v128.bitselect(v128.load(lastVector), hidden, tailMask))

  const shift = f32x4.splat(maxLanes(largestLanes(x, stop)))

  const scales = f32x4.splat(<f32>(<f64>scale * LOG2_E))
  const low = v128.load32_splat(EXP2)
  const magic = v128.load32_splat(EXP2, 4)
  const p5 = v128.load32_splat(EXP2, 8)
  const p4 = v128.load32_splat(EXP2, 12)
  const p3 = v128.load32_splat(EXP2, 16)
  const p2 = v128.load32_splat(EXP2, 20)
  const p1 = v128.load32_splat(EXP2, 24)
  const one = v128.load32_splat(EXP2, 28)
  let sum = f32x4.splat(0)
  for (; x < stop; x += 16) {
    const e = exp2Vector(f32x4.mul(f32x4.sub(v128.load(x), shift), scales), low, magic, p5, p4, p3, p2, p1, one)
    v128.store(x, e)
    sum = f32x4.add(sum, e)
  }
  fillZeros(x, row + floats(columns))
  return 1 / sumLanes(sum)
}

/** Lane-wise maximum of one or more vectors, in four chains, because a single one would wait four cycles for each. */
// @ts-ignore: decorator
@inline
function largestLanes(x: usize, end: usize): v128 {
  let m0 = v128.load(x)
  let m1 = m0
  let m2 = m0
  let m3 = m0
  for (; x + 64 <= end; x += 64) {
    m0 = f32x4.pmax(m0, v128.load(x))
    m1 = f32x4.pmax(m1, v128.load(x, 16))
    m2 = f32x4.pmax(m2, v128.load(x, 32))
    m3 = f32x4.pmax(m3, v128.load(x, 48))
  }
  for (; x < end; x += 16) m0 = f32x4.pmax(m0, v128.load(x))
  return f32x4.pmax(f32x4.pmax(m0, m1), f32x4.pmax(m2, m3))
}

/** Stores whole vectors, since a bulk fill costs more than these few. */
// @ts-ignore: decorator
@inline
function fillZeros(from: usize, end: usize): void {
  const zero = f32x4.splat(0)
  for (; from < end; from += 16) v128.store(from, zero)
}

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

/** Moves the retained part of a chunk's local keys or values to the front. */
function dropFront(base: usize, size: usize, dropped: i32, retained: i32): void {
  memory.copy(base, base + <usize>dropped * size, <usize>retained * size)
}

/** `LocalStore`: split by heads. */
export function localStore(op: usize, header: usize, partition: i32, partitions: i32): void {
  const rows = word(header, DispatchHeader.Rows)
  const sequences = sequenceHeaders(header)
  if (!sequences) return storeRows(op, header, 0, rows, partition, partitions)
  for (let row = 0; row < rows; ++row) storeRows(op, headerOfRow(header, sequences, row), row, 1, partition, partitions)
}

/** Rows from `firstRow` on, which are all those of the header's sequence. */
function storeRows(op: usize, header: usize, firstRow: i32, rows: i32, partition: i32, partitions: i32): void {
  const heads = word(op, LocalStore.Heads)
  const width = word(op, LocalStore.HeadWidth)
  const headStride = word(op, LocalStore.HeadStride)
  const capacity = word(op, LocalStore.Capacity)
  const stride = floats(word(op, LocalStore.Stride))
  const projected = operand(op, LocalStore.Projected, header) + <usize>firstRow * stride
  const tableRow = floats(width) * 2
  const table = operand(op, LocalStore.Table, header) + <usize>firstRow * tableRow
  const index = word(header, DispatchHeader.LocalIndex)
  const dropped = word(header, DispatchHeader.LocalDrop)
  const headSize = floats(headStride * capacity)
  assert(index + rows <= capacity, 'local keys beyond their buffer')
  const end = partitionStart(heads, partition + 1, partitions)
  for (let head = partitionStart(heads, partition, partitions); head < end; ++head) {
    const keys = operand(op, LocalStore.Keys, header) + <usize>head * headSize
    const values = operand(op, LocalStore.Values, header) + <usize>head * headSize
    if (dropped > 0) {
      dropFront(keys, floats(headStride), dropped, (index + 7) & ~7)
      for (let channel = 0; channel < headStride; channel += 8) dropFront(values + floats(channel * capacity), 32, dropped, index)
    }
    const part = floats(heads * headStride)
    const first = projected + floats(head * headStride)
    for (let row = 0; row < rows;) {
      // four keys at once fill half a panel, while they are in the first-level cache
      const block = ((index + row) & 3) == 0 && row + 4 <= rows ? 4 : 1
      const query = first + <usize>row * stride
      const key = query + part
      for (let i: usize = 0; i < <usize>block; ++i) {
        const cosine = table + (<usize>row + i) * tableRow
        rotateHead(query + i * stride, cosine, cosine + floats(width), width)
        rotateHead(key + i * stride, cosine, cosine + floats(width), width)
        storeValue(key + part + i * stride, values, index + row + <i32>i, headStride, capacity)
      }
      if (block == 4) storeFourKeys(key, key + stride, key + 2 * stride, key + 3 * stride, keys, index + row, headStride)
      else storeKey(key, keys, index + row, headStride)
      row += block
    }
  }
}

/** Scatters one head's key across the lanes of its panel. */
export function storeKey(key: usize, keys: usize, index: i32, headStride: i32): void {
  let to = keys + floats((index >> 3) * headStride) * 8 + floats(index & 7)
  for (let channel = 0; channel < headStride; channel += 4, key += 16, to += 128) {
    const v = v128.load(key)
    v128.store32_lane(to, v, 0)
    v128.store32_lane(to, v, 1, 32)
    v128.store32_lane(to, v, 2, 64)
    v128.store32_lane(to, v, 3, 96)
  }
}

/** The same for four keys whose first index is a multiple of 4, storing one vector of four keys per channel. */
export function storeFourKeys(key0: usize, key1: usize, key2: usize, key3: usize, keys: usize, index: i32, headStride: i32): void {
  let to = keys + floats((index >> 3) * headStride) * 8 + floats(index & 7)
  const end = key0 + floats(headStride)
  for (; key0 < end; key0 += 16, key1 += 16, key2 += 16, key3 += 16, to += 128) {
    const v0 = v128.load(key0)
    const v1 = v128.load(key1)
    const v2 = v128.load(key2)
    const v3 = v128.load(key3)
    const low01 = v128.shuffle<f32>(v0, v1, 0, 4, 1, 5)
    const low23 = v128.shuffle<f32>(v2, v3, 0, 4, 1, 5)
    const high01 = v128.shuffle<f32>(v0, v1, 2, 6, 3, 7)
    const high23 = v128.shuffle<f32>(v2, v3, 2, 6, 3, 7)
    v128.store(to, v128.shuffle<f32>(low01, low23, 0, 1, 4, 5))
    v128.store(to, v128.shuffle<f32>(low01, low23, 2, 3, 6, 7), 32)
    v128.store(to, v128.shuffle<f32>(high01, high23, 0, 1, 4, 5), 64)
    v128.store(to, v128.shuffle<f32>(high01, high23, 2, 3, 6, 7), 96)
  }
}

/** Writes one head's value into its row of each channel panel. */
export function storeValue(value: usize, values: usize, index: i32, headStride: i32, capacity: i32): void {
  let to = values + floats(index) * 8
  for (let channel = 0; channel < headStride; channel += 8, value += 32, to += floats(capacity) * 8) {
    v128.store(to, v128.load(value))
    v128.store(to, v128.load(value, 16), 16)
  }
}

/**
 * `Attention`: for each context, (head, tile of rows) pairs are split head by head, so that a head's keys stay in the
 * cache, and by whole heads if their number is divisible by the number of partitions; skipped barriers rely on that.
 */
export function attention(op: usize, header: usize, partition: i32, partitions: i32): void {
  attendShare(op, header, partition, partitions, partition)
}

/** One of the slices that a single thread computes in sequence, using the first partition's scores. */
export function attentionSlice(op: usize, header: usize, slice: i32, slices: i32): void {
  attendShare(op, header, slice, slices, 0)
}

/** A partition, using the scores of partition `place`. */
function attendShare(op: usize, header: usize, partition: i32, partitions: i32, place: i32): void {
  const heads = word(op, Attention.Heads)
  const sequences = sequenceHeaders(header)
  if (sequences) {
    const head = partitionStart(heads, partition, partitions)
    return attendSequences(op, header, sequences, head, partitionStart(heads, partition + 1, partitions), place)
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
      place,
    )
  }
}

/** Heads `head` … `end` - 1 of rows that belong to several sequences: each row is one context's, under its own header. */
function attendSequences(op: usize, header: usize, sequences: usize, head: i32, end: i32, place: i32): void {
  const rows = count(op, Attention.Rows, header)
  const indices = operand(op, Attention.Indices, header)
  for (let row = 0; row < rows; ++row) {
    const own = headerOfRow(header, sequences, indices ? load<i32>(indices + floats(row)) : row)
    attendContext(op, own, 0, row, 1, head, end, place)
  }
}

/** Tasks `task` … `end` - 1 of one context's rows, which begin at `firstRow`. */
function attendContext(op: usize, header: usize, context: i32, firstRow: i32, rows: i32, task: i32, end: i32, place: i32): void {
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
  const scores = operand(op, Attention.Scores, header) + <usize>place * scoreBytes(scoreStride)
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
