import { Opcode, DispatchHeader, RotaryFromAngles, RotaryFromPositions } from '../../../assembly/ops.js'
import { headerWord, type RotaryTable } from './layer-ops.js'
import type { Operand, ProgramBuilder } from './program-builder.js'

/** Where the angles of routed attention come from: the model's own positions, or the caller's table. */
export type RotarySource =
  | { readonly kind: 'positions'; readonly frequencies: Operand; readonly width: number }
  | { readonly kind: 'angles'; readonly angles: Operand; readonly width: number; readonly angleStride: number }

/** Which rows a table is for: consecutive ones from a position of the header on, or those of a list. */
export interface RotaryRows {
  readonly count: Operand
  readonly start?: DispatchHeader.Position | DispatchHeader.WindowPosition
  readonly indices?: Operand
}

/** Floats of a table of `rows` rows. */
export function rotaryTableWords(rows: number, width: number): number {
  return rows * 2 * width
}

/** Adds the op that writes a table to `output`. */
export function addRotaryTable(builder: ProgramBuilder, source: RotarySource, rows: RotaryRows, output: Operand): RotaryTable {
  const start = headerWord(rows.start ?? DispatchHeader.Position)
  if (source.kind === 'positions') {
    builder.op(Opcode.RotaryFromPositions, RotaryFromPositions.Length, {
      [RotaryFromPositions.Rows]: rows.count,
      [RotaryFromPositions.Position]: start,
      [RotaryFromPositions.Indices]: rows.indices,
      [RotaryFromPositions.Frequencies]: source.frequencies,
      [RotaryFromPositions.Output]: output,
      [RotaryFromPositions.Width]: source.width,
    })
    return { rows: output, width: source.width, angleStride: 0 }
  }
  builder.op(Opcode.RotaryFromAngles, RotaryFromAngles.Length, {
    [RotaryFromAngles.Rows]: rows.count,
    [RotaryFromAngles.Position]: start,
    [RotaryFromAngles.Indices]: rows.indices,
    [RotaryFromAngles.Angles]: source.angles,
    [RotaryFromAngles.Output]: output,
    [RotaryFromAngles.Width]: source.width,
  })
  return { rows: output, width: source.width, angleStride: source.angleStride }
}
