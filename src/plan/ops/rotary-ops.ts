import { DispatchHeader } from '../../../assembly/ir/header.js'
import { Opcode } from '../../../assembly/ir/ops.js'
import type { Geometry } from '../geometry.js'
import { headerWord } from './operands.js'
import type { ProgramBuilder } from './program-builder.js'
import type { Operand } from '../../program/operand.js'

/** Source of the angles for routed attention: the model's own positions, or the caller's table. */
export type RotarySource =
  | { readonly kind: 'positions'; readonly frequencies: Operand; readonly width: number }
  | { readonly kind: 'angles'; readonly angles: Operand; readonly width: number; readonly angleStride: number }

/** The rows of a table: consecutive ones from a position in the header, or those of a list (of indices or positions). */
export interface RotaryRows {
  readonly count: Operand
  readonly start?: DispatchHeader.Position | DispatchHeader.ClosingPosition
  readonly indices?: Operand
  /** 64-bit integers, of which the first is number `first`[0]. */
  readonly positions?: Operand | undefined
  readonly first?: Operand
}

/** cos and sin of the angles of some rows, as written by the rotary ops. */
export interface RotaryTable {
  readonly rows: Operand
  /** Floats per row of cos. */
  readonly width: number
  /** Floats between the angles of consecutive heads; 0 if the heads share them. */
  readonly angleStride: number
}

/** Floats in a table of `rows` rows. */
export function rotaryTableWords(rows: number, width: number): number {
  return rows * 2 * width
}

/** Adds the op that writes a table to `output`. */
export function addRotaryTable(builder: ProgramBuilder, source: RotarySource, rows: RotaryRows, output: Operand): RotaryTable {
  const start = headerWord(rows.start ?? DispatchHeader.Position)
  if (source.kind === 'positions') {
    builder.op(Opcode.RotaryFromPositions, {
      rows: rows.count,
      position: start,
      indices: rows.indices,
      positions: rows.positions,
      first: rows.first,
      frequencies: source.frequencies,
      output,
      width: source.width,
    })
    return { rows: output, width: source.width, angleStride: 0 }
  }
  builder.op(Opcode.RotaryFromAngles, {
    rows: rows.count,
    position: start,
    indices: rows.indices,
    angles: source.angles,
    output,
    width: source.width,
  })
  return { rows: output, width: source.width, angleStride: source.angleStride }
}

/** Rotates heads by the angles of their rows. */
export function addRotation(
  builder: ProgramBuilder,
  { config, headStride }: Geometry,
  table: RotaryTable,
  rows: { count: Operand; values: Operand; stride: number; indices?: Operand | undefined; limit?: DispatchHeader },
): void {
  builder.op(Opcode.Rotate, {
    rows: rows.count,
    values: rows.values,
    table: table.rows,
    indices: rows.indices,
    stride: rows.stride,
    heads: config.heads,
    headWidth: config.dimHead,
    headStride,
    angleStride: table.angleStride,
    tableWidth: table.width,
    limit: rows.limit ?? DispatchHeader.Rows,
  })
}
