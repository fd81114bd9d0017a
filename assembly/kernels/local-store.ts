import { floats, headerOfRow, operand, sequenceHeaders, word } from '../operands'
import { partitionStart } from '../parallel'
import { DispatchHeader } from '../ir/header'
import { LocalStore } from '../ir/ops'
import { storeFourKeys, storeKey, storeValue } from './key-value-layout'
import { rotateHead } from './rotary'

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

/** Moves the retained part of a chunk's local keys or values to the front. */
function dropFront(base: usize, size: usize, dropped: i32, retained: i32): void {
  memory.copy(base, base + <usize>dropped * size, <usize>retained * size)
}
