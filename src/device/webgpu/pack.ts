import type { Axis, PackedWeight, ParameterSource, ParameterValues, WeightLayout } from '../device.js'
import type { WebGpuBuffer } from './webgpu-buffer.js'

/**
 * Packs weights into a buffer: float32, the one format that this device keeps. "panels" are row-major here, [inputs][outputs]: neighbouring invocations read neighbouring outputs at every
 * k. Constants are frequencies of rotation: fractions of a turn in 64 bits (`rotaryFromPositions`).
 */
export function packWeights(layout: WeightLayout, parameters: ParameterSource, buffer: WebGpuBuffer): void {
  for (const weight of layout.weights) buffer.write(packWeight(weight, parameters), weight.byteOffset)
  for (const { byteOffset, values } of layout.constants) buffer.write(turnFractions(values), byteOffset)
}

function elementsOf({ groups, stride }: Axis): number {
  return groups * stride
}

function packWeight({ layout, sources, inputs, normalised }: PackedWeight, parameters: ParameterSource): Float32Array {
  const outputs = sources.reduce((sum, source) => sum + elementsOf(source.outputs), 0)
  const depth = elementsOf(inputs)
  const panels = layout === 'panels'
  const width = Math.ceil(outputs / 8) * 8
  const packed = new Float32Array(panels ? depth * width : outputs * depth)
  const columns = inputs.groups * inputs.size
  let output = 0
  for (const { name, outputs: axis } of sources) {
    const values = floatsOf(parameters(name))
    for (let group = 0; group < axis.groups; group++) {
      for (let i = 0; i < axis.size; i++) {
        const row = values.subarray((axis.first + group * axis.size + i) * columns, (axis.first + group * axis.size + i + 1) * columns)
        const divisor = normalised ? Math.max(Math.hypot(...row), 1e-12) : 1
        const target = output + group * axis.stride + i
        for (let j = 0; j < columns; j++) {
          const input = Math.floor(j / inputs.size) * inputs.stride + (j % inputs.size)
          packed[panels ? input * width + target : target * depth + input] = row[j]! / divisor
        }
      }
    }
    output += elementsOf(axis)
  }
  return packed
}

/** Values at any alignment. */
function floatsOf({ bytes }: ParameterValues): Float32Array {
  return bytes.byteOffset % 4 === 0
    ? new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
    : new Float32Array(bytes.slice().buffer)
}

/** Radians a position to 2^-64 turns a position, as pairs of words, low and high. */
function turnFractions(frequencies: Float64Array): Int32Array {
  const words = new BigUint64Array(frequencies.length)
  frequencies.forEach((frequency, i) => (words[i] = BigInt(Math.round((frequency / (2 * Math.PI)) * 2 ** 64))))
  return new Int32Array(words.buffer)
}
