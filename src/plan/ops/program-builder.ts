import { Opcode } from '../../../assembly/ir/ops.js'
import type { BarrierSkip, SerializedOps, Program } from '../../device/device.js'
import { encodeOp, type OpName } from '../../program/encode-op.js'
import type { OpFields } from '../../program/op-fields.js'
import type { Activations } from '../memory/activations.js'

/** Writes a program op by op. */
export class ProgramBuilder {
  readonly #words: number[] = []
  readonly #barrierSkips: BarrierSkip[] = []
  readonly #serialized: SerializedOps[] = []
  #last = 0
  readonly #activations: Activations | undefined

  /** @param activations where products of int8 weights keep their quantized rows; needed only for those */
  constructor(activations?: Activations) {
    this.#activations = activations
  }

  /** @throws Error where products of int8 weights were not planned for */
  get activations(): Activations {
    if (!this.#activations) throw new Error('a product of int8 weights, and no memory for its rows')
    return this.#activations
  }

  /** @param fields all operands and numbers of the op, as `assembly/generate/op-schema.mjs` lists them */
  op<O extends OpName>(opcode: O, fields: OpFields[O]): void {
    this.#last = this.#words.length
    this.#words.push(...encodeOp(opcode, fields))
  }

  /**
   * Omits the barrier after the last op: always or, given `units` (groups of heads), only if these divide evenly among
   * the partitions, each of which then uses only its own. The same must hold for the following ops, up to the first that
   * keeps its barrier.
   */
  skipBarrier(units = 0): void {
    this.#barrierSkips.push({ op: this.#last, units })
  }

  /**
   * Declares that the ops added by `add` read or write state passed between dispatches; everything else is private to a
   * dispatch, or only read.
   */
  serialized(add: () => void): void {
    const first = this.#words.length
    add()
    if (this.#words.length > first) this.#serialized.push({ first, last: this.#last })
  }

  finish(): Program {
    return { words: Int32Array.from([...this.#words, Opcode.End]), barrierSkips: this.#barrierSkips, serialized: this.#serialized }
  }
}
