import { count, floatWord, floats, operand, word } from '../operands'
import { isStopped, partitionStart } from '../parallel'
import { DispatchHeader } from '../ir/header'
import { AttentionWeights } from '../ir/ops'
import { scaleHead } from './attention'
import { PANEL_ROW, gemm } from './gemm'
import { softmax } from './softmax'

/**
 * `AttentionWeights`: split by heads. Scores and their softmax have the bits of `Attention`, which multiplies by the
 * reciprocal sum after the weighted sum of values instead.
 */
export function attentionWeights(op: usize, header: usize, partition: i32, partitions: i32): void {
  const heads = word(op, AttentionWeights.Heads)
  const width = word(op, AttentionWeights.HeadWidth)
  const headStride = word(op, AttentionWeights.HeadStride)
  const capacity = word(op, AttentionWeights.Capacity)
  const rowSize = floats(word(op, AttentionWeights.WeightStride))
  const scale = floatWord(op, AttentionWeights.Scale)
  const shape = word(header, DispatchHeader.TileShape)
  const end = count(op, AttentionWeights.End, header) + 1
  const first = max(0, end - word(op, AttentionWeights.Window))
  const base = first & ~7
  const panels = (end - base + 7) >> 3
  const panelStride = floats(headStride) * 8
  assert(base + panels * 8 <= capacity && floats(panels * 8) <= rowSize, 'attention weights: keys beyond the buffer')
  const queries = operand(op, AttentionWeights.Queries, header)
  const keys = operand(op, AttentionWeights.Keys, header) + <usize>(base >> 3) * panelStride
  const weights = operand(op, AttentionWeights.Weights, header)
  const endHead = partitionStart(heads, partition + 1, partitions)
  for (let head = partitionStart(heads, partition, partitions); head < endHead; ++head) {
    if (isStopped(header)) return
    const query = queries + floats(head * headStride)
    const row = weights + <usize>head * rowSize
    gemm(shape, 1, width, query, 0, keys + floats(head * headStride * capacity), PANEL_ROW, panelStride, panels, row, rowSize, false)
    scaleHead(row, panels << 3, softmax(row, first - base, end - base, panels << 3, scale))
  }
}
