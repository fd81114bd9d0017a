import { BufferIndex } from '../../../assembly/ir/header.js'
import { WeightFormat } from '../../../assembly/ir/values.js'
import { type Axis, formatBytes, type PackedWeight, type WeightLayout } from '../../device/device.js'
import type { Extent, Parameter } from '../parameters.js'
import { Layout, roundUp } from './layout.js'
import { at, type Operand } from '../../program/operand.js'

/** Packed weights as an operand, and how they lie in memory. */
export interface Weights extends Operand {
  readonly format: WeightFormat
}

/** Collects what a program needs of the parameters, and where it will lie. */
export class WeightPlan {
  readonly #layout = new Layout()
  readonly #formatOf: (name: string) => WeightFormat
  readonly #weights: PackedWeight[] = []
  readonly #constants: { byteOffset: number; values: Float64Array }[] = []

  /**
   * @param formatOf the format of a parameter that is used often enough to be kept as it came; default: float32. Norms,
   * biases and what is computed from a parameter are float32 always
   */
  constructor(formatOf: (name: string) => WeightFormat = () => WeightFormat.Float32) {
    this.#formatOf = formatOf
  }

  finish(): WeightLayout {
    return { byteLength: this.#layout.byteLength, weights: this.#weights, constants: this.#constants }
  }

  /** A parameter; of one that experts share, what this expert has of it. */
  pack(parameter: Parameter, expert = 0): Weights {
    const format = parameter.packing === 'rows' ? WeightFormat.Float32 : this.#formatOf(parameter.name)
    return this.#add(parameter, sourcesOf(parameter, expert), { format })
  }

  /** Linear maps of the same inputs as one: their outputs one after the other, in float32. */
  join(parameters: readonly [Parameter, ...Parameter[]], { normalised }: { normalised: boolean }): Weights {
    return this.#add(
      parameters[0],
      parameters.flatMap((parameter) => sourcesOf(parameter, 0)),
      { normalised },
    )
  }

  /** 10000^(-2j/e), j < e / 2: how fast pair j turns (SPEC section 2). */
  frequencies(dimHead: number): Operand {
    const values = Float64Array.from({ length: dimHead / 2 }, (_, j) => 10000 ** ((-2 * j) / dimHead))
    const byteOffset = this.#layout.bytes(values.byteLength)
    this.#constants.push({ byteOffset, values })
    return at(BufferIndex.Weights, byteOffset)
  }

  #add(
    { packing, inputs: extent }: Parameter,
    sources: PackedWeight['sources'],
    { normalised = false, format = WeightFormat.Float32 },
  ): Weights {
    const inputs = axisOf(extent)
    const rows = sources.reduce((sum, { outputs }) => sum + outputs.groups * outputs.stride, 0)
    const outputs = packing === 'panels' ? roundUp(rows) : rows
    const byteOffset = this.#layout.bytes(outputs * inputs.groups * inputs.stride * formatBytes(format))
    this.#weights.push({ byteOffset, layout: packing === 'panels' ? 'panels' : 'rows', format, sources, inputs, normalised })
    return { ...at(BufferIndex.Weights, byteOffset), format }
  }
}

/** An expert's rows of a parameter, part by part. */
function sourcesOf({ name, parts, experts, outputs }: Parameter, expert: number): PackedWeight['sources'] {
  return Array.from({ length: parts }, (_, part) => ({ name, outputs: axisOf(outputs, part * experts + expert) }))
}

/** @param index how many as long come before it */
function axisOf({ groups, size, isPadded }: Extent, index = 0): Axis {
  return { first: index * groups * size, groups, size, stride: isPadded ? roundUp(size) : size }
}
