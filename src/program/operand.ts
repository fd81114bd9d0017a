import type { BufferIndex } from '../../assembly/ir/header.js'

/** An operand's location: a buffer and an offset in bytes. */
export interface Operand {
  readonly buffer: BufferIndex
  readonly byteOffset: number
}

export function at(buffer: BufferIndex, byteOffset = 0): Operand {
  return { buffer, byteOffset }
}
