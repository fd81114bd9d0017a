import { attentionPart } from './kernels/attention'
import { productPart } from './kernels/matmul'
import { selectKeyValuesPart, selectQueriesPart } from './kernels/selection'
import { count, operand, word } from './operands'
import { Attention, Descent, OPCODE_MASK, Opcode, Piece, Product, SelectKeyValues, SelectQueries, Selection } from './steps'

/*
 * What a step costs, and how the long ones are cut where one thread computes them part by part. Parts are cut as shares are, between outputs (or between the
 * passes of a descent, which carry two numbers), so how many there are leaves no trace in the result.
 */

/** Fewer rows than this take no less time: they wait for the weights. */
const FEWEST_ROWS: i32 = 4
/** Operations that a weight of the softmax is worth, beside the products of its key and value. */
const SOFTMAX: f64 = 16
/** Operations of a value in one pass of a descent; and what passes choosing the largest is worth. */
const PASS: f64 = 16
const CHOOSING: i32 = 20
/** What any other step is worth for a row. */
const ROW: f64 = 32768
/** More parts than this would be smaller than a tile. */
const MOST_PARTS: f64 = 65536

/** Operations that a step takes, about, multiply and add counted as two. */
export function workOf(step: usize, piece: usize): f64 {
  const opcode = word(step, 0) & OPCODE_MASK
  if (opcode == Opcode.Product) {
    const rows = count(step, Product.Rows, piece)
    return rows == 0 ? 0 : <f64>(max(rows, FEWEST_ROWS) * 16) * <f64>word(step, Product.Depth) * <f64>word(step, Product.Panels)
  }
  if (opcode == Opcode.Attention) {
    const rows = count(step, Attention.Rows, piece)
    const last = load<i32>(operand(step, Attention.End, piece)) + 1 + rows * word(step, Attention.Advance)
    // groups see different numbers of keys, at most as many as there is room for
    const keys = operand(step, Attention.Starts, piece) ? word(step, Attention.Window) : min(word(step, Attention.Window), last)
    return <f64>rows * <f64>keys * <f64>word(step, Attention.Heads) * (4 * <f64>word(step, Attention.HeadStride) + SOFTMAX)
  }
  if (opcode == Opcode.SelectQueries) return <f64>pairsOf(step, piece, SelectQueries.Experts) * workOfPair(step, piece, true)
  if (opcode == Opcode.SelectKeyValues) return <f64>pairsOf(step, piece, SelectKeyValues.Experts) * workOfPair(step, piece, false)
  return ROW * <f64>word(piece, Piece.Rows)
}

/** (Window, expert) pairs of a selection. */
function pairsOf(step: usize, piece: usize, experts: i32): i32 {
  return word(piece, Piece.Windows) * word(step, experts)
}

/** Operations of one pair, of the last window. */
function workOfPair(step: usize, piece: usize, areQueries: bool): f64 {
  const descent = step + ((areQueries ? SelectQueries.Descent : SelectKeyValues.Descent) << 2)
  const isChoice = word(descent, Descent.Selection) == Selection.TopK && word(descent, Descent.StraightThrough) != 0
  const passes = isChoice ? CHOOSING : CHOOSING + word(descent, Descent.Iterations)
  const windowSize = word(step, areQueries ? SelectQueries.WindowSize : SelectKeyValues.WindowSize)
  const isOneWindow = areQueries || isChoice
  const windows = isOneWindow ? 1 : word(piece, Piece.Window) + word(piece, Piece.Windows) - 1
  return PASS * <f64>passes * <f64>min(windowSize, word(piece, Piece.SequenceRows)) * <f64>windows
}

/** Parts that a step of so much work is cut into, so that none but the smallest that there can be is more than `most` operations. */
export function partsOf(step: usize, piece: usize, work: f64, most: f64): i32 {
  if (work <= most) return 1
  const opcode = word(step, 0) & OPCODE_MASK
  if (opcode == Opcode.Product || opcode == Opcode.Attention) return <i32>min<f64>(Math.ceil(work / most), MOST_PARTS)
  // each pair is cut alike
  if (opcode == Opcode.SelectQueries) return partsOfPairs(pairsOf(step, piece, SelectQueries.Experts), work, most)
  if (opcode == Opcode.SelectKeyValues) return partsOfPairs(pairsOf(step, piece, SelectKeyValues.Experts), work, most)
  return 1
}

function partsOfPairs(pairs: i32, work: f64, most: f64): i32 {
  return pairs * <i32>min<f64>(Math.ceil(work / <f64>pairs / most), MOST_PARTS)
}

/** Runs one of several parts of a step that `partsOf` cuts. */
export function runPart(step: usize, piece: usize, part: i32, parts: i32): void {
  const opcode = word(step, 0) & OPCODE_MASK
  if (opcode == Opcode.Product) productPart(step, piece, part, parts)
  else if (opcode == Opcode.Attention) attentionPart(step, piece, part, parts)
  else if (opcode == Opcode.SelectQueries) selectQueriesPart(step, piece, part, parts)
  else if (opcode == Opcode.SelectKeyValues) selectKeyValuesPart(step, piece, part, parts)
  else assert(false, 'a step that is not cut')
}
