import type { Arena, Block } from '../../memory/arena.js'
import { elementsOf, formatBytes, type PackedWeight, type ParameterSource } from '../device.js'
import type { KernelExports } from './instantiate.js'

/** Outputs per panel: two vectors. */
const PANEL = 8
/** Outputs per group of panels. */
const GROUP = 32
/** Bytes of a parameter copied into the memory at a time. */
const STAGE_BYTES = 1 << 18

/** Bytes of parameters packed per step: a few milliseconds, even if the memory is touched for the first time. */
const PART_BYTES = 1 << 20

/** Destination of a parameter's row: element `at` of the packed weight, with its inputs `step` elements apart. */
interface Place {
  readonly at: number
  readonly step: number
  /** Distance to the next row, for `run` rows. */
  readonly rowStep: number
  readonly run: number
}

/**
 * Packs weights into a block of the arena, step by step, through a staging buffer. "panels": groups of up to four
 * panels of 8 outputs, one group after another, each [inputs][8 · panels]. One copy serves both tiles, which read one
 * panel of a group, and single rows, which stream a whole group: interleaved, the panels of a group form a single
 * memory stream, read at the speed of a plain sum, whereas four separate panels were read at two thirds of that.
 * "rows": row-major.
 */
export function* packWeights(
  weights: readonly PackedWeight[],
  parameters: ParameterSource,
  arena: Arena,
  kernels: KernelExports,
  address: number,
): Generator<void, void> {
  const largestRow = weights.reduce((most, { inputs }) => Math.max(most, inputs.groups * inputs.size * 4), 0)
  const stage = arena.allocate(Math.max(STAGE_BYTES, largestRow), 'staging of parameters')
  try {
    for (const weight of weights) yield* packWeight(weight, parameters, arena, kernels, address + weight.byteOffset, stage)
  } finally {
    arena.free(stage)
  }
}

function* packWeight(
  weight: PackedWeight,
  parameters: ParameterSource,
  arena: Arena,
  kernels: KernelExports,
  target: number,
  stage: Block,
): Generator<void, void> {
  const { inputs, sources, format: packed, normalised } = weight
  const placeOf = placesIn(weight)
  const columns = inputs.groups * inputs.size
  let output = 0
  let bytesOfPart = 0
  for (const { name, outputs } of sources) {
    const { format, bytes } = parameters(name)
    const rowBytes = columns * formatBytes(format)
    const most = Math.max(1, Math.floor(stage.byteLength / Math.max(rowBytes, 1)))
    for (let group = 0; group < outputs.groups; group++) {
      for (let i = 0; i < outputs.size;) {
        const { at, step, rowStep, run } = placeOf(output + group * outputs.stride + i)
        const rows = Math.min(most, run, outputs.size - i)
        const from = (outputs.first + group * outputs.size + i) * rowBytes
        arena.bytes.set(bytes.subarray(from, from + rows * rowBytes), stage.address)
        const to = target + at * formatBytes(packed)
        kernels.pack(stage.address, format, rows, inputs.groups, inputs.size, inputs.stride, to, packed, rowStep, step, normalised ? 1 : 0)
        i += rows
        bytesOfPart += rows * rowBytes
        if (bytesOfPart < PART_BYTES) continue
        bytesOfPart = 0
        yield
      }
    }
    output += outputs.groups * outputs.stride
  }
  yield
}

/** Destination of each row of a weight. */
function placesIn({ inputs, sources, layout }: PackedWeight): (row: number) => Place {
  const depth = elementsOf(inputs)
  if (layout === 'rows') return (row) => ({ at: row * depth, step: 1, rowStep: depth, run: Infinity })
  const outputs = sources.reduce((sum, source) => sum + elementsOf(source.outputs), 0)
  const width = Math.ceil(outputs / PANEL) * PANEL
  return (row) => {
    const column = row % GROUP
    const first = row - column
    return { at: first * depth + column, step: Math.min(GROUP, width - first), rowStep: 1, run: GROUP - column }
  }
}
