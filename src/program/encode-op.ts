import { FIELD_ORDER, type OpFields } from './op-fields.js'
import type { Operand } from './operand.js'

/** Opcodes of what a program can hold. */
export type OpName = keyof OpFields

/** The words of an op: opcode, length, then its fields in their order. */
export function encodeOp<O extends OpName>(opcode: O, fields: OpFields[O]): number[] {
  const words: number[] = [opcode, 0]
  const values = fields as unknown as Readonly<Record<string, Operand | number | boolean | undefined>>
  for (const field of FIELD_ORDER[opcode].split(' ')) {
    const value = values[/\w+/.exec(field)![0]] ?? 0
    if (field.endsWith('@')) words.push(...(value ? [(value as Operand).buffer, (value as Operand).byteOffset] : [0, 0]))
    else if (field.endsWith('%')) words.push(...new Int32Array(Float32Array.of(value as number).buffer))
    else if (field.endsWith('#')) words.push(...new Int32Array(Float64Array.of(value as number).buffer))
    else words.push(Number(value))
  }
  words[1] = words.length
  return words
}
