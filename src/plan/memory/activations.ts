import { BufferIndex } from '../../../assembly/ir/header.js'
import { activationBytes } from '../../program/activation-bytes.js'
import { at, type Operand } from '../../program/operand.js'
import type { ActivationBits } from '../config.js'
import type { Layout } from './layout.js'

/** Where the quantized rows are that products of int8 weights read: those of one product at a time. */
export interface Activations {
  readonly bits: ActivationBits
  readonly values: Operand
  /** One for each row. */
  readonly scales: Operand
}

/**
 * @param rows most rows of a product
 * @param depth most columns
 */
export function planActivations(layout: Layout, bits: ActivationBits, rows: number, depth: number): Activations {
  return {
    bits,
    values: at(BufferIndex.Scratch, layout.bytes(rows * activationBytes(bits, depth))),
    scales: at(BufferIndex.Scratch, layout.words(rows)),
  }
}
