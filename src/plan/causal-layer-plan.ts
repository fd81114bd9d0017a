import type { LayerConfig } from './config.js'
import { BufferIndex, DispatchHeader } from '../../assembly/ir/header.js'
import type { Program } from '../device/device.js'
import { addCausalLayer, addOpening } from './ops/causal-ops.js'
import { contextsOf, createGeometry, type Geometry } from './geometry.js'
import { type LayerCall, rotarySource } from './layer-call.js'
import {
  type RoutedLayerState,
  type LayerScratch,
  planRoutedLayerState,
  planContextUpdateScratch,
  planLayerScratch,
} from './memory/layer-memory.js'
import type { LayerContext } from './ops/layer-context.js'
import { EVERY_ROW, headerWord } from './ops/operands.js'
import { Layout } from './memory/layout.js'
import { ProgramBuilder } from './ops/program-builder.js'
import { at } from '../program/operand.js'
import { addRotaryTable, type RotarySource, rotaryTableWords } from './ops/rotary-ops.js'
import type { StandaloneWeights } from './memory/standalone-weights.js'

/** The plan of a causal layer: one program for all chunks. */
export interface CausalLayerPlan {
  readonly geometry: Geometry
  readonly scratchBytes: number
  readonly stateBytes: number
  readonly scratch: LayerScratch
  readonly state: RoutedLayerState
  /** Run once on a zeroed state. */
  readonly open: Program
  /** Run for each chunk, from `BufferIndex.Input` to `BufferIndex.Output`. */
  readonly chunk: Program
}

export function planCausalLayer(config: LayerConfig, parameters: StandaloneWeights, call: LayerCall): CausalLayerPlan {
  const { partitions } = call.limits
  const geometry = createGeometry(config, contextsOf(config, call.length), call.length, call.limits)
  const scratchLayout = new Layout()
  const scratch = planLayerScratch(scratchLayout, geometry, partitions)
  const contextUpdate = planContextUpdateScratch(scratchLayout, geometry)
  const stateLayout = new Layout()
  const state = planRoutedLayerState(stateLayout, geometry, false)
  const table = (rows: number, width: number) => at(BufferIndex.Scratch, scratchLayout.words(rotaryTableWords(rows, width)))

  const builder = new ProgramBuilder()
  const local: RotarySource = { kind: 'positions', frequencies: parameters.frequencies, width: config.dimHead }
  const rows = { count: headerWord(DispatchHeader.Rows) }
  const localTable = addRotaryTable(builder, local, rows, table(geometry.chunkRows, config.dimHead)).rows
  const source = rotarySource(config, call.angleWidth)
  if (source || config.prenorm) builder.skipBarrier()
  const routedTable = source && addRotaryTable(builder, source, rows, table(geometry.chunkRows, source.width))
  const windowRows = { count: headerWord(DispatchHeader.ClosingRows), start: DispatchHeader.ClosingPosition } as const
  const windowTable = source && addRotaryTable(builder, source, windowRows, table(geometry.windowCapacity, source.width))
  const context: LayerContext = {
    builder,
    geometry,
    weights: parameters.weights,
    scratch,
    state,
    input: at(BufferIndex.Input),
    output: at(BufferIndex.Output),
    outputRows: EVERY_ROW,
    residual: false,
    localTable,
    routedTable,
    trace: call.trace,
  }
  addCausalLayer({ ...context, state, contextUpdate, windowTable })

  const opening = new ProgramBuilder()
  addOpening(opening, geometry, parameters.weights, state)
  return {
    geometry,
    scratchBytes: scratchLayout.byteLength,
    stateBytes: stateLayout.byteLength,
    scratch,
    state,
    open: opening.finish(),
    chunk: builder.finish(),
  }
}
