import type { Arena, Block } from '../../memory/arena.js'
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
import { panelOutputs, type RowRun, runsOf, targetsByParameter, type WeightTarget } from '../weight-targets.js'
import type { KernelExports } from './instantiate.js'

/** Outputs per group of panels. */
const GROUP = 32
/** Inputs of an output that lie side by side in int8 panels. */
const INT8_STEP = 4
/** Bytes of a parameter copied into the memory at a time. */
const STAGE_BYTES = 1 << 18

/** Destination of a parameter's row: element `at` of the packed weight, with its inputs `step` elements apart. */
interface Place {
  readonly at: number
  readonly step: number
  /** Distance to the next row, for `run` rows. */
  readonly rowStep: number
  readonly run: number
}

/** Where the weights are packed. */
interface PackedBuffer extends DeviceBuffer {
  readonly address: number
}

/**
 * Packs weights into a block of the arena through a staging buffer. "panels": groups of up to four panels of 8 outputs,
 * one group after another, each [inputs][8 · panels]. One copy serves both tiles, which read one panel of a group, and
 * single rows, which stream a whole group: interleaved, the panels of a group form a single memory stream, read at the
 * speed of a plain sum, whereas four separate panels were read at two thirds of that. "rows": row-major.
 */
export class WasmWeightPacker implements WeightPacker {
  readonly #arena: Arena
  readonly #kernels: KernelExports
  readonly #targets: ReadonlyMap<string, readonly WeightTarget[]>
  readonly #constants: WeightLayout['constants']
  #buffer: PackedBuffer | undefined
  #stage: Block | undefined

  /** @throws RoutedAttentionError `OUT_OF_MEMORY` */
  constructor(arena: Arena, kernels: KernelExports, layout: WeightLayout, allocate: (byteLength: number) => PackedBuffer) {
    this.#arena = arena
    this.#kernels = kernels
    this.#targets = targetsByParameter(layout.weights)
    this.#constants = layout.constants
    const largestRow = layout.weights.reduce((most, { inputs }) => Math.max(most, inputs.segments * inputs.size * 4), 0)
    try {
      this.#buffer = allocate(layout.byteLength)
      this.#stage = arena.allocate(Math.max(STAGE_BYTES, largestRow), 'staging of parameters')
    } catch (error) {
      this.dispose()
      throw error
    }
  }

  put(name: string, first: number, values: ParameterValues): void {
    for (const target of this.#targets.get(name) ?? []) {
      const { segments, size } = target.weight.inputs
      const rows = values.bytes.length / Math.max(1, segments * size * formatBytes(values.format))
      for (const run of runsOf(target, first, rows)) this.#pack(target.weight, values, run)
    }
  }

  putScales(name: string, first: number, scales: Float32Array): void {
    for (const target of this.#targets.get(name) ?? []) {
      const start = (this.#buffer!.address + target.weight.scalesOffset!) / 4
      for (const { from, count, output } of runsOf(target, first, scales.length))
        this.#arena.floats.set(scales.subarray(from, from + count), start + output)
    }
  }

  #pack(weight: PackedWeight, { format, bytes }: ParameterValues, { from, count, output }: RowRun): void {
    const { inputs, format: packed, normalised, scalesOffset } = weight
    const { address, byteLength } = this.#stage!
    const target = this.#buffer!.address + weight.byteOffset
    const placeOf = placesIn(weight)
    const rowBytes = inputs.segments * inputs.size * formatBytes(format)
    const most = Math.max(1, Math.floor(byteLength / Math.max(rowBytes, 1)))
    for (let i = 0; i < count;) {
      const { at, step, rowStep, run } = placeOf(output + i)
      const rows = Math.min(most, run, count - i)
      this.#arena.bytes.set(bytes.subarray((from + i) * rowBytes, (from + i + rows) * rowBytes), address)
      const to = target + at * formatBytes(packed)
      if (format === WeightFormat.Int8 && weight.layout === 'panels') {
        const sums = this.#buffer!.address + scalesOffset! + (panelOutputs(weight) + output + i) * 4
        this.#kernels.packInt8(address, rows, inputs.segments, inputs.size, inputs.stride, to, step, sums)
      } else
        this.#kernels.pack(
          address,
          format,
          rows,
          inputs.segments,
          inputs.size,
          inputs.stride,
          to,
          packed,
          rowStep,
          step,
          normalised ? 1 : 0,
        )
      i += rows
    }
  }

  finish(): DeviceBuffer {
    const buffer = this.#buffer!
    for (const { byteOffset, values } of this.#constants) buffer.write(values, byteOffset)
    this.#buffer = undefined
    this.dispose()
    return buffer
  }

  dispose(): void {
    if (this.#stage) this.#arena.free(this.#stage)
    this.#stage = undefined
    this.#buffer?.dispose()
    this.#buffer = undefined
  }
}

/** Destination of each row of a weight. */
function placesIn(weight: PackedWeight): (row: number) => Place {
  const { inputs, layout, format } = weight
  // int8 panels have four inputs of an output side by side
  const depth = format === WeightFormat.Int8 && layout === 'panels' ? roundUp(elementsOf(inputs), INT8_STEP) : elementsOf(inputs)
  const unit = format === WeightFormat.Int8 ? INT8_STEP : 1
  if (layout === 'rows') return (row) => ({ at: row * depth, step: 1, rowStep: depth, run: Infinity })
  const width = panelOutputs(weight)
  return (row) => {
    const column = row % GROUP
    const first = row - column
    return { at: first * depth + column * unit, step: Math.min(GROUP, width - first), rowStep: 1, run: GROUP - column }
  }
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple
}
