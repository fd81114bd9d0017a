import { bfloat16ToFloat32, float16ToFloat32 } from '../../half.js'
import {
  elementsOf,
  formatBytes,
  type PackedWeight,
  type ParameterSource,
  type ParameterValues,
  WeightFormat,
  type WeightLayout,
} from '../device.js'
import type { WebGpuBuffer } from './webgpu-buffer.js'

/**
 * Packs weights into a buffer one after another, in their own format or widened to float32, as the layout specifies.
 * "panels" are row-major here, [inputs][outputs]: neighbouring invocations read neighbouring outputs at every k.
 * Constants are rotary frequencies: 64-bit fractions of a turn (`rotaryFromPositions`).
 */
export function* packWeights(layout: WeightLayout, parameters: ParameterSource, buffer: WebGpuBuffer): Generator<void, void> {
  for (const weight of layout.weights) {
    buffer.write(packWeight(weight, parameters), weight.byteOffset)
    yield
  }
  for (const { byteOffset, values } of layout.constants) buffer.write(turnFractions(values), byteOffset)
  buffer.divide([...layout.weights, ...layout.constants].map(({ byteOffset }) => byteOffset).sort((a, b) => a - b))
}

function packWeight(
  { layout, format, sources, inputs, normalised }: PackedWeight,
  parameters: ParameterSource,
): Float32Array | Uint16Array {
  const outputs = sources.reduce((sum, source) => sum + elementsOf(source.outputs), 0)
  const depth = elementsOf(inputs)
  const panels = layout === 'panels'
  const width = Math.ceil(outputs / 8) * 8
  const packed = new (format === WeightFormat.Float32 ? Float32Array : Uint16Array)(panels ? depth * width : outputs * depth)
  const columns = inputs.groups * inputs.size
  let output = 0
  for (const { name, outputs: axis } of sources) {
    const values = valuesOf(parameters(name), format)
    for (let group = 0; group < axis.groups; group++) {
      for (let i = 0; i < axis.size; i++) {
        const first = (axis.first + group * axis.size + i) * columns
        const divisor = normalised ? Math.max(norm(values, first, columns), 1e-12) : 1
        const target = output + group * axis.stride + i
        for (let j = 0; j < columns; j++) {
          const input = Math.floor(j / inputs.size) * inputs.stride + (j % inputs.size)
          packed[panels ? input * width + target : target * depth + input] = values[first + j]! / divisor
        }
      }
    }
    output += elementsOf(axis)
  }
  return packed
}

/** 2-norm of `count` values. */
function norm(values: ArrayLike<number>, first: number, count: number): number {
  let sum = 0
  for (let i = first; i < first + count; i++) sum += values[i]! ** 2
  return Math.sqrt(sum)
}

/** Values in the requested format: their own, or float32. */
function valuesOf({ format, bytes }: ParameterValues, wanted: WeightFormat): Float32Array | Uint16Array {
  const aligned = bytes.byteOffset % formatBytes(format) === 0 ? bytes : bytes.slice()
  if (format === WeightFormat.Float32) return new Float32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 4)
  const halves = new Uint16Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 2)
  if (wanted === format) return halves
  return format === WeightFormat.Float16 ? float16ToFloat32(halves) : bfloat16ToFloat32(halves)
}

/** Converts radians per position to 2^-64 turns per position, as pairs of words, low and high. */
function turnFractions(frequencies: Float64Array): Int32Array {
  const words = new BigUint64Array(frequencies.length)
  frequencies.forEach((frequency, i) => (words[i] = BigInt(Math.round((frequency / (2 * Math.PI)) * 2 ** 64))))
  return new Int32Array(words.buffer)
}
