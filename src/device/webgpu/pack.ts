import { bfloat16ToFloat32, float16ToFloat32 } from '../../half.js'
import {
  type DeviceBuffer,
  elementsOf,
  formatBytes,
  type PackedWeight,
  type ParameterValues,
  WeightFormat,
  type WeightLayout,
  type WeightPacker,
} from '../device.js'
import { outputsOf, panelOutputs, type RowRun, runsOf, targetsByParameter, type WeightTarget } from '../weight-targets.js'
import type { WebGpuBuffer } from './webgpu-buffer.js'

/** A weight on its way to the GPU. */
interface Assembly {
  readonly packed: Float32Array | Uint16Array
  /** Sources whose last row has come. */
  readonly whole: Set<WeightTarget>
  /** Of each output, for int8, and the sources whose last scale has come. */
  readonly scales: Float32Array | undefined
  readonly scaled: Set<WeightTarget>
}

/**
 * Packs weights into a buffer, in their own format or widened to float32, as the layout specifies. "panels" are
 * row-major here, [inputs][outputs]: neighbouring invocations read neighbouring outputs at every k. A parameter's rows
 * are columns then, so a weight is assembled on the host and written when it is whole. Constants are rotary
 * frequencies: 64-bit fractions of a turn (`rotaryFromPositions`).
 */
export class WebGpuWeightPacker implements WeightPacker {
  readonly #layout: WeightLayout
  readonly #targets: ReadonlyMap<string, readonly WeightTarget[]>
  readonly #assemblies = new Map<PackedWeight, Assembly>()
  #buffer: WebGpuBuffer | undefined

  /** @param buffer owned from now on */
  constructor(layout: WeightLayout, buffer: WebGpuBuffer) {
    this.#layout = layout
    this.#targets = targetsByParameter(layout.weights)
    this.#buffer = buffer
  }

  put(name: string, first: number, values: ParameterValues): void {
    for (const target of this.#targets.get(name) ?? []) {
      const { inputs, format } = target.weight
      const columns = inputs.segments * inputs.size
      const rows = values.bytes.length / Math.max(1, columns * formatBytes(values.format))
      const runs = [...runsOf(target, first, rows)]
      if (runs.length === 0) continue
      const typed = valuesOf(values, format)
      const assembly = this.#assemblyOf(target.weight, values.format === WeightFormat.Int8)
      for (const run of runs) packRows(target.weight, assembly.packed, typed, run)
      if (endsIn(target, first + rows)) assembly.whole.add(target)
      this.#writeIfWhole(target.weight, assembly)
    }
  }

  putScales(name: string, first: number, scales: Float32Array): void {
    for (const target of this.#targets.get(name) ?? []) {
      const runs = [...runsOf(target, first, scales.length)]
      if (runs.length === 0) continue
      const assembly = this.#assemblyOf(target.weight, true)
      for (const { from, count, output } of runs) assembly.scales!.set(scales.subarray(from, from + count), output)
      if (endsIn(target, first + scales.length)) assembly.scaled.add(target)
      this.#writeIfWhole(target.weight, assembly)
    }
  }

  /** A weight of several parameters waits for the end: one of them may come again. */
  #writeIfWhole(weight: PackedWeight, assembly: Assembly): void {
    const { whole, scales, scaled } = assembly
    if (weight.sources.length === 1 && whole.size === 1 && (!scales || scaled.size === 1)) this.#write(weight, assembly)
  }

  #assemblyOf(weight: PackedWeight, isInt8: boolean): Assembly {
    const known = this.#assemblies.get(weight)
    if (known) return known
    const depth = elementsOf(weight.inputs)
    const length = weight.layout === 'panels' ? depth * panelOutputs(weight) : depth * outputsOf(weight)
    const packed = new (weight.format === WeightFormat.Float32 ? Float32Array : Uint16Array)(length)
    const scales = isInt8 ? new Float32Array(outputsOf(weight)) : undefined
    const assembly = { packed, whole: new Set<WeightTarget>(), scales, scaled: new Set<WeightTarget>() }
    this.#assemblies.set(weight, assembly)
    return assembly
  }

  #write(weight: PackedWeight, { packed, scales }: Assembly): void {
    if (scales) applyScales(weight, packed, scales)
    this.#buffer!.write(packed, weight.byteOffset)
    this.#assemblies.delete(weight)
  }

  finish(): DeviceBuffer {
    const buffer = this.#buffer!
    const { weights, constants } = this.#layout
    for (const [weight, assembly] of this.#assemblies) this.#write(weight, assembly)
    for (const { byteOffset, values } of constants) buffer.write(turnFractions(values), byteOffset)
    buffer.divide([...weights, ...constants].map(({ byteOffset }) => byteOffset).sort((a, b) => a - b))
    this.#buffer = undefined
    return buffer
  }

  dispose(): void {
    this.#assemblies.clear()
    this.#buffer?.dispose()
    this.#buffer = undefined
  }
}

function packRows(
  weight: PackedWeight,
  packed: Float32Array | Uint16Array,
  values: Float32Array | Uint16Array,
  { from, count, output }: RowRun,
): void {
  const { layout, inputs, normalised } = weight
  const depth = elementsOf(inputs)
  const [rowStep, step] = layout === 'panels' ? [1, panelOutputs(weight)] : [depth, 1]
  const columns = inputs.segments * inputs.size
  for (let i = 0; i < count; i++) {
    const first = (from + i) * columns
    const divisor = normalised ? Math.max(norm(values, first, columns), 1e-12) : 1
    const target = (output + i) * rowStep
    for (let j = 0; j < columns; j++) {
      const input = Math.floor(j / inputs.size) * inputs.stride + (j % inputs.size)
      packed[target + input * step] = values[first + j]! / divisor
    }
  }
}

/** Integers times their output's scale, each rounded once. */
function applyScales(weight: PackedWeight, packed: Float32Array | Uint16Array, scales: Float32Array): void {
  const depth = elementsOf(weight.inputs)
  const [rowStep, step] = weight.layout === 'panels' ? [1, panelOutputs(weight)] : [depth, 1]
  scales.forEach((scale, output) => {
    for (let input = 0, at = output * rowStep; input < depth; input++, at += step) packed[at]! *= scale
  })
}

/** Whether a target's rows are among those before `row`. */
function endsIn({ outputs }: WeightTarget, row: number): boolean {
  return row >= outputs.first + outputs.segments * outputs.size
}

/** 2-norm of `count` values. */
function norm(values: ArrayLike<number>, first: number, count: number): number {
  let sum = 0
  for (let i = first; i < first + count; i++) sum += values[i]! ** 2
  return Math.sqrt(sum)
}

/** Values in the requested format: their own, or float32. */
function valuesOf({ format, bytes }: ParameterValues, wanted: WeightFormat): Float32Array | Uint16Array {
  if (format === WeightFormat.Int8) return Float32Array.from(new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length))
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
