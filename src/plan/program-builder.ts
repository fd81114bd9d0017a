import type { Buffer } from '../../assembly/steps.js'
import { Opcode } from '../../assembly/steps.js'
import type { Joint, OrderedSteps, Program } from '../device/device.js'

/** Where an operand lies: a buffer and an offset in bytes. */
export interface Operand {
  readonly buffer: Buffer
  readonly byteOffset: number
}

export function at(buffer: Buffer, byteOffset = 0): Operand {
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

/** Writes a program step by step; words not given are 0, which for an operand means "none". */
export class ProgramBuilder {
  readonly #words: number[] = []
  readonly #joints: Joint[] = []
  readonly #ordered: OrderedSteps[] = []
  #last = 0

  /** @param values by the names of the step's words in `assembly/steps.ts`; `length` is the step's length there */
  step(opcode: Opcode, length: number, values: Readonly<Record<number, Value>>): void {
    const words = new Int32Array(length)
    words[0] = opcode
    words[1] = length
    for (const [key, value] of Object.entries(values)) encode(words, Number(key), value)
    this.#last = this.#words.length
    this.#words.push(...words)
  }

  /**
   * Says that the next step may begin on one share while others are at the last one: always, or where `parts` (of the heads) divide evenly among the
   * shares, each of which uses its own parts only. The same holds for what follows, up to the first step that is not so joined.
   */
  join(parts = 0): void {
    this.#joints.push({ step: this.#last, parts })
  }

  /** Says that the steps that `add` adds read or write what a run leaves to the next: all else is a run's own, or only read. */
  ordered(add: () => void): void {
    const first = this.#words.length
    add()
    if (this.#words.length > first) this.#ordered.push({ first, last: this.#last })
  }

  finish(): Program {
    return { words: Int32Array.from([...this.#words, Opcode.End]), joints: this.#joints, ordered: this.#ordered }
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
