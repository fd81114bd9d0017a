import type { Geometry } from '../geometry.js'
import type { LayerScratch, LayerState } from '../memory/layer-memory.js'
import type { LayerWeights, RoutingWeights } from '../memory/layer-weights.js'
import type { RowRange } from './operands.js'
import type { ProgramBuilder } from './program-builder.js'
import type { Operand } from '../../program/operand.js'
import type { RotaryTable } from './rotary-ops.js'

/** One layer, the location of its data, and the program its ops are added to. */
export interface LayerContext {
  readonly builder: ProgramBuilder
  readonly geometry: Geometry
  readonly weights: LayerWeights
  readonly scratch: LayerScratch
  readonly state: LayerState
  readonly input: Operand
  /** Its rows are those of `outputRows`. */
  readonly output: Operand
  /** Rows whose outputs are computed; state is updated from all rows. */
  readonly outputRows: RowRange
  /** Whether the layer's result is added to its input (in a model). */
  readonly residual: boolean
  /** Angles of local attention for the chunk's rows. */
  readonly localTable: Operand
  /** Angles of routed queries for the chunk's rows. */
  readonly routedTable: RotaryTable | undefined
  /** Whether to copy the local output to `BufferIndex.LocalOutput`. */
  readonly trace: boolean
}

/** The same for a layer with a routed part. */
export interface RoutedContext extends LayerContext {
  readonly routing: RoutingWeights
}
