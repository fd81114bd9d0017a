import { BufferIndex } from '../../../assembly/ir/header.js'
import { Opcode } from '../../../assembly/ir/ops.js'
import { at, type Operand } from '../../program/operand.js'
import { type CompiledProgram, type DeviceBuffer, Dispatch } from '../device.js'
import type { WasmDevice } from './wasm-device.js'

/** Operands begin on cache lines. */
const ALIGNMENT = 64

/** Ops on operands of their own, run again and again to time or to compare kernels. */
export class KernelTrial {
  readonly #device: WasmDevice
  readonly #contents: { readonly values: Int32Array | Float32Array; readonly byteOffset: number }[] = []
  readonly #dispatch = new Dispatch()
  #byteLength = 0
  #memory: DeviceBuffer | undefined
  #program: CompiledProgram | undefined

  constructor(device: WasmDevice) {
    this.#device = device
  }

  /** An operand of `byteLength` zeros. */
  zeros(byteLength: number): Operand {
    const operand = at(BufferIndex.Scratch, this.#byteLength)
    this.#byteLength += Math.ceil(byteLength / ALIGNMENT) * ALIGNMENT
    return operand
  }

  /** An operand that holds some values. */
  values(values: Int32Array | Float32Array): Operand {
    const operand = this.zeros(values.byteLength)
    this.#contents.push({ values, byteOffset: operand.byteOffset })
    return operand
  }

  /**
   * Takes the memory, once all operands are known.
   * @throws RoutedAttentionError `OUT_OF_MEMORY`
   */
  compile(...ops: readonly (readonly number[])[]): this {
    this.#memory = this.#device.allocate(this.#byteLength, 'the product that kernels are timed on')
    this.#memory.clear()
    for (const { values, byteOffset } of this.#contents) this.#memory.write(values, byteOffset)
    this.#program = this.#device.compile({ words: Int32Array.of(...ops.flat(), Opcode.End) })
    this.#dispatch.bind(BufferIndex.Scratch, this.#memory)
    return this
  }

  run(): void {
    this.#device.runSync(this.#program!, this.#dispatch)
  }

  read({ byteOffset }: Operand, length: number): Float32Array {
    return this.#memory!.readFloats(byteOffset, length)
  }

  dispose(): void {
    this.#program?.dispose()
    this.#memory?.dispose()
  }
}
