import { BufferIndex } from '../../../assembly/ir/header.js'
import { WeightFormat } from '../../../assembly/ir/values.js'
import { type Axis, elementsOf, formatBytes, type PackedWeight, type WeightLayout } from '../../device/device.js'
import { outputsOf, panelOutputs } from '../../device/weight-targets.js'
import type { Extent, Parameter } from '../parameters.js'
import { Layout, roundUp } from './layout.js'
import { at, type Operand } from '../../program/operand.js'

/** Packed weights as an operand, with their format. */
export interface Weights extends Operand {
  readonly format: WeightFormat
  /** Of int8: a float32 for each output, and in panels, after all scales, the sum of its weights. */
  readonly scales?: Operand
}

/** Values of a row of int8 that are multiplied together. */
const INT8_STEP = 4

/** Collects the parameters that programs use and assigns each its place in the buffer of packed weights. */
export class WeightPlan {
  readonly #layout = new Layout()
  readonly #formatOf: (parameter: Parameter) => WeightFormat
  readonly #weights: PackedWeight[] = []
  readonly #constants: { byteOffset: number; values: Float64Array }[] = []

  /**
   * @param formatOf the format in which a matrix or table is kept; default float32. Norms, biases and values computed
   * from parameters are always float32
   */
  constructor(formatOf: (parameter: Parameter) => WeightFormat = () => WeightFormat.Float32) {
    this.#formatOf = formatOf
  }

  finish(): WeightLayout {
    return { byteLength: this.#layout.byteLength, weights: this.#weights, constants: this.#constants }
  }

  /** Packs a parameter or, if it contains several experts', the share of one. */
  pack(parameter: Parameter, expert = 0): Weights {
    const format = parameter.packing === 'rows' ? WeightFormat.Float32 : this.#formatOf(parameter)
    return this.#add(parameter, sourcesOf(parameter, expert), { format })
  }

  /** Packs several linear maps of the same inputs as one, their outputs concatenated, in float32. */
  join(parameters: readonly [Parameter, ...Parameter[]], { normalised }: { normalised: boolean }): Weights {
    return this.#add(
      parameters[0],
      parameters.flatMap((parameter) => sourcesOf(parameter, 0)),
      { normalised },
    )
  }

  /** Rotary frequencies 10000^(-2j/e), j < e / 2 (SPEC section 2). */
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
    const layout = packing === 'panels' ? 'panels' : 'rows'
    const outputs = layout === 'panels' ? panelOutputs({ sources }) : outputsOf({ sources })
    const depth = elementsOf(inputs)
    if (format !== WeightFormat.Int8) {
      const byteOffset = this.#layout.bytes(outputs * depth * formatBytes(format))
      this.#weights.push({ byteOffset, layout, format, sources, inputs, normalised })
      return { ...at(BufferIndex.Weights, byteOffset), format }
    }
    const byteOffset = this.#layout.bytes(outputs * roundUp(depth, INT8_STEP))
    const scalesOffset = this.#layout.words(layout === 'panels' ? 2 * outputs : outputs)
    this.#weights.push({ byteOffset, layout, format, sources, inputs, normalised, scalesOffset })
    return { ...at(BufferIndex.Weights, byteOffset), format, scales: at(BufferIndex.Weights, scalesOffset) }
  }
}

/** An expert's rows in each of the tensors stacked in a parameter. */
function sourcesOf({ name, stacked, experts, outputs }: Parameter, expert: number): PackedWeight['sources'] {
  return Array.from({ length: stacked }, (_, index) => ({ name, outputs: axisOf(outputs, index * experts + expert) }))
}

/** @param index number of extents of this size that precede it */
function axisOf({ segments, size, isPadded }: Extent, index = 0): Axis {
  return { first: index * segments * size, segments, size, stride: isPadded ? roundUp(size) : size }
}
