import { BufferIndex, DispatchHeader } from '../../../assembly/ir/header.js'
import { at, type Operand } from '../../program/operand.js'

/** A word of the dispatch header as an operand. */
export function headerWord(word: DispatchHeader): Operand {
  return at(BufferIndex.DispatchHeader, word * 4)
}

/** A range of a chunk's rows: count, and first row; default: from row 0. */
export interface RowRange {
  readonly count: DispatchHeader
  readonly first?: DispatchHeader
}

export const EVERY_ROW: RowRange = { count: DispatchHeader.Rows }
/** The rows whose outputs are requested. */
export const REQUESTED_ROWS: RowRange = { count: DispatchHeader.RequestedRows, first: DispatchHeader.RequestedFirst }

/** The operands for the number of rows and the first row. */
export function rangeWords({ count, first }: RowRange): { rows: Operand; first: Operand | undefined } {
  return { rows: headerWord(count), first: first === undefined ? undefined : headerWord(first) }
}

/** The operand moved by `words` 32-bit words. */
export function offset({ buffer, byteOffset }: Operand, words: number): Operand {
  return at(buffer, byteOffset + words * 4)
}
