import type { BufferIndex } from '../../../assembly/ops.js'
import { Opcode } from '../../../assembly/ops.js'
import type { BarrierSkip, SerializedOps, Program } from '../../device/device.js'

/** Where an operand lies: a buffer and an offset in bytes. */
export interface Operand {
  readonly buffer: BufferIndex
  readonly byteOffset: number
}

export function at(buffer: BufferIndex, byteOffset = 0): Operand {
  return { buffer, byteOffset }
}

/** An f32 word. */
export interface Float {
  readonly float: number
}

/** An f64, two words. */
export interface Double {
  readonly double: number
}

type Value = number | boolean | Operand | Float | Double | undefined

/** Writes a program op by op; words not given are 0, which for an operand means "none". */
export class ProgramBuilder {
  readonly #words: number[] = []
  readonly #barrierSkips: BarrierSkip[] = []
  readonly #serialized: SerializedOps[] = []
  #last = 0

  /** @param values by the names of the op's words in `assembly/ops.ts`; `length` is the op's length there */
  op(opcode: Opcode, length: number, values: Readonly<Record<number, Value>>): void {
    const words = new Int32Array(length)
    words[0] = opcode
    words[1] = length
    for (const [key, value] of Object.entries(values)) encode(words, Number(key), value)
    this.#last = this.#words.length
    this.#words.push(...words)
  }

  /**
   * Omits the barrier after the last op: always, or only where `parts` (of the heads) divide evenly among the
   * partitions, each of which then uses its own parts only. The same holds for what follows, up to the first op that
   * keeps its barrier.
   */
  skipBarrier(parts = 0): void {
    this.#barrierSkips.push({ op: this.#last, parts })
  }

  /**
   * Says that the ops that `add` adds read or write what a dispatch leaves to the next: all else is a dispatch's own,
   * or only read.
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

function encode(words: Int32Array, index: number, value: Value): void {
  if (value === undefined) return
  if (typeof value !== 'object') words[index] = Number(value)
  else if ('buffer' in value) {
    words[index] = value.buffer
    words[index + 1] = value.byteOffset
  } else if ('float' in value) words.set(new Int32Array(new Float32Array([value.float]).buffer), index)
  else words.set(new Int32Array(new Float64Array([value.double]).buffer), index)
}
