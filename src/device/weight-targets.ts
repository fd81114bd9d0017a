import {
  type Axis,
  type DeviceBuffer,
  elementsOf,
  type PackedWeight,
  type ParameterSource,
  type WeightPacker,
  type WeightLayout,
} from './device.js'

/** Packs parameters that are all there. */
export function packAll(packer: WeightPacker, { weights }: WeightLayout, parameters: ParameterSource): DeviceBuffer {
  try {
    const names = new Set(weights.flatMap(({ sources }) => sources.map(({ name }) => name)))
    for (const name of names) packer.put(name, 0, parameters(name))
    return packer.finish()
  } finally {
    packer.dispose()
  }
}

/** Outputs of a packed weight: those of all its sources. */
export function outputsOf({ sources }: Pick<PackedWeight, 'sources'>): number {
  return sources.reduce((sum, { outputs }) => sum + elementsOf(outputs), 0)
}

/** Outputs per panel: two vectors. */
const PANEL = 8

/** The same with its panels filled up. */
export function panelOutputs(weight: Pick<PackedWeight, 'sources'>): number {
  return Math.ceil(outputsOf(weight) / PANEL) * PANEL
}

/** A packed weight, or a part of one, that a parameter's rows go to. */
export interface WeightTarget {
  readonly weight: PackedWeight
  /** The rows. */
  readonly outputs: Axis
  /** The first of them among the weight's outputs. */
  readonly firstOutput: number
}

/** By the parameters' names. One may feed several weights, and several one. */
export function targetsByParameter(weights: readonly PackedWeight[]): ReadonlyMap<string, readonly WeightTarget[]> {
  const targets = new Map<string, WeightTarget[]>()
  for (const weight of weights) {
    let firstOutput = 0
    for (const { name, outputs } of weight.sources) {
      const known = targets.get(name) ?? []
      known.push({ weight, outputs, firstOutput })
      targets.set(name, known)
      firstOutput += elementsOf(outputs)
    }
  }
  return targets
}

/** Rows of a parameter that become neighbouring outputs of a packed weight. */
export interface RowRun {
  /** The first, counted from the first row given. */
  readonly from: number
  readonly count: number
  readonly output: number
}

/** Which of the rows from `first` to `first + count` go to a target, and where. */
export function* runsOf({ outputs, firstOutput }: WeightTarget, first: number, count: number): Generator<RowRun> {
  const { size, stride } = outputs
  if (size === 0) return
  const start = Math.max(0, first - outputs.first)
  const end = Math.min(outputs.segments * size, first + count - outputs.first)
  for (let row = start; row < end;) {
    const [segment, i] = [Math.floor(row / size), row % size]
    const run = Math.min(size - i, end - row)
    yield { from: outputs.first + row - first, count: run, output: firstOutput + segment * stride + i }
    row += run
  }
}
