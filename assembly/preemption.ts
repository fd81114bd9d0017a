import { attentionSlice } from './kernels/attention'
import { matmulSlice } from './kernels/matmul'
import { quantizedMatmulSlice } from './kernels/quantized-matmul'
import { selectKeyValuesSlice, selectQueriesSlice } from './kernels/selection'
import { count, operand, word } from './operands'
import { OPCODE_MASK } from './ir/flags'
import { DispatchHeader } from './ir/header'
import { Attention, Descent, Matmul, Opcode, QuantizedMatmul, SelectKeyValues, SelectQueries } from './ir/ops'
import { SelectionAlgorithm } from './ir/values'

/*
 * The cost of ops, and how long ones are split into slices when one thread runs them step by step. Slices, like
 * partitions, are split between outputs (or between the passes of a descent, which carry two numbers), so their number
 * does not affect the result.
 */

/** Fewer rows take no less time, since they wait for the weights. */
const FEWEST_ROWS: i32 = 4
/** Operations of an int8 product that take no longer than one of float32, at least. */
const INTEGER_SPEED: f64 = 1.5
/** Cost of a softmax weight in operations, besides the products with its key and value. */
const SOFTMAX: f64 = 16
/** Cost of a value in one pass of a descent, in operations; choosing the largest costs this many passes. */
const PASS: f64 = 16
const CHOOSING: i32 = 20
/** Cost of a row in any other op. */
const ROW: f64 = 32768
/** More slices would be smaller than a tile. */
const MAX_SLICES: f64 = 65536

/** Approximate number of operations of an op, a multiply-add counting as two. */
export function workOf(op: usize, header: usize): f64 {
  const opcode = word(op, 0) & OPCODE_MASK
  if (opcode == Opcode.Matmul) return workOfProduct(count(op, Matmul.Rows, header), word(op, Matmul.Depth), word(op, Matmul.Panels))
  if (opcode == Opcode.QuantizedMatmul) {
    const rows = count(op, QuantizedMatmul.Rows, header)
    return workOfProduct(rows, word(op, QuantizedMatmul.Depth), word(op, QuantizedMatmul.Panels)) / INTEGER_SPEED
  }
  if (opcode == Opcode.Attention) {
    const rows = count(op, Attention.Rows, header)
    const last = load<i32>(operand(op, Attention.End, header)) + 1 + rows * word(op, Attention.Advance)
    // groups see different numbers of keys, at most the capacity
    const keys = operand(op, Attention.Starts, header) ? word(op, Attention.Window) : min(word(op, Attention.Window), last)
    return <f64>rows * <f64>keys * <f64>word(op, Attention.Heads) * (4 * <f64>word(op, Attention.HeadStride) + SOFTMAX)
  }
  if (opcode == Opcode.SelectQueries) return <f64>pairsOf(op, header, SelectQueries.Experts) * workOfPair(op, header, true)
  if (opcode == Opcode.SelectKeyValues) return <f64>pairsOf(op, header, SelectKeyValues.Experts) * workOfPair(op, header, false)
  return ROW * <f64>word(header, DispatchHeader.Rows)
}

function workOfProduct(rows: i32, depth: i32, panels: i32): f64 {
  return rows == 0 ? 0 : <f64>(max(rows, FEWEST_ROWS) * 16) * <f64>depth * <f64>panels
}

/** Number of (window, expert) pairs of a selection. */
function pairsOf(op: usize, header: usize, experts: i32): i32 {
  return word(header, DispatchHeader.Windows) * word(op, experts)
}

/** Operations of one pair in the last window. */
function workOfPair(op: usize, header: usize, areQueries: bool): f64 {
  const descent = op + ((areQueries ? SelectQueries.Descent : SelectKeyValues.Descent) << 2)
  const isChoice = word(descent, Descent.Selection) == SelectionAlgorithm.TopK && word(descent, Descent.StraightThrough) != 0
  const passes = isChoice ? CHOOSING : CHOOSING + word(descent, Descent.Iterations)
  const windowSize = word(op, areQueries ? SelectQueries.WindowSize : SelectKeyValues.WindowSize)
  const isOneWindow = areQueries || isChoice
  const windows = isOneWindow ? 1 : word(header, DispatchHeader.Window) + word(header, DispatchHeader.Windows) - 1
  return PASS * <f64>passes * <f64>min(windowSize, word(header, DispatchHeader.SequenceRows)) * <f64>windows
}

/**
 * Number of slices for an op of this much work, so that none exceeds `most` operations unless it is as small as
 * possible.
 */
export function slicesOf(op: usize, header: usize, work: f64, most: f64): i32 {
  if (work <= most) return 1
  const opcode = word(op, 0) & OPCODE_MASK
  if (opcode == Opcode.Matmul || opcode == Opcode.QuantizedMatmul || opcode == Opcode.Attention)
    return <i32>min<f64>(Math.ceil(work / most), MAX_SLICES)
  // each pair is split alike
  if (opcode == Opcode.SelectQueries) return slicesOfPairs(pairsOf(op, header, SelectQueries.Experts), work, most)
  if (opcode == Opcode.SelectKeyValues) return slicesOfPairs(pairsOf(op, header, SelectKeyValues.Experts), work, most)
  return 1
}

function slicesOfPairs(pairs: i32, work: f64, most: f64): i32 {
  return pairs * <i32>min<f64>(Math.ceil(work / <f64>pairs / most), MAX_SLICES)
}

/** Runs one of the slices that `slicesOf` counts. */
export function runSlice(op: usize, header: usize, slice: i32, slices: i32): void {
  const opcode = word(op, 0) & OPCODE_MASK
  if (opcode == Opcode.Matmul) matmulSlice(op, header, slice, slices)
  else if (opcode == Opcode.QuantizedMatmul) quantizedMatmulSlice(op, header, slice, slices)
  else if (opcode == Opcode.Attention) attentionSlice(op, header, slice, slices)
  else if (opcode == Opcode.SelectQueries) selectQueriesSlice(op, header, slice, slices)
  else if (opcode == Opcode.SelectKeyValues) selectKeyValuesSlice(op, header, slice, slices)
  else assert(false, 'an op that is not cut')
}
