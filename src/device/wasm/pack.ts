import type { Axis, PackedWeight, ParameterSource } from '../device.js'

/** Outputs of a panel: two vectors. */
const PANEL = 8
/** Outputs of a group of panels. */
const GROUP = 32

/**
 * Packs one weight into `target` (floats, zeroed), from index `start`. "panels": groups of up to four panels of 8 outputs, one group after the other,
 * each [inputs][8 · panels]; one copy serves tiles, which take a panel of it, and single rows, which stream all of it: side by side the panels of a
 * group are one stream of memory, read at the rate of a plain sum, where four apart were read at two thirds of it. "rows": row-major.
 */
export function packWeight(weight: PackedWeight, parameters: ParameterSource, target: Float32Array, start: number): void {
  const depth = weight.inputs.groups * weight.inputs.stride
  const outputs = weight.sources.reduce((sum, source) => sum + source.outputs.groups * source.outputs.stride, 0)
  const width = Math.ceil(outputs / PANEL) * PANEL
  let output = 0
  for (const { name, outputs } of weight.sources) {
    const source = parameters(name)
    const columns = weight.inputs.groups * weight.inputs.size
    for (let group = 0; group < outputs.groups; group++) {
      for (let i = 0; i < outputs.size; i++) {
        const from = (outputs.first + group * outputs.size + i) * columns
        const row = output + group * outputs.stride + i
        const scale = weight.normalised ? 1 / Math.max(norm(source, from, columns), 1e-12) : 1
        if (weight.layout === 'rows') {
          packRow(source, from, weight.inputs, scale, target, start + row * depth, 1)
          continue
        }
        const column = row % GROUP
        const first = row - column
        packRow(source, from, weight.inputs, scale, target, start + first * depth + column, Math.min(GROUP, width - first))
      }
    }
    output += outputs.groups * outputs.stride
  }
}

function packRow(source: Float32Array, from: number, inputs: Axis, scale: number, target: Float32Array, to: number, step: number): void {
  for (let group = 0; group < inputs.groups; group++) {
    let at = to + group * inputs.stride * step
    for (let i = 0; i < inputs.size; i++, at += step) target[at] = source[from++]! * scale
  }
}

function norm(source: Float32Array, from: number, length: number): number {
  let sum = 0
  for (let i = from; i < from + length; i++) sum += source[i]! ** 2
  return Math.sqrt(sum)
}
