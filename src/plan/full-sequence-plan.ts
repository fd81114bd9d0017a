import type { LayerConfig } from './config.js'
import { BufferIndex, DispatchHeader } from '../../assembly/ir/header.js'
import type { Program } from '../device/device.js'
import { contextsOf, createGeometry, type Geometry, type PlanLimits } from './geometry.js'
import { type LayerScratch, type LayerState, planLayerScratch, planFullSequenceLayerState } from './memory/layer-memory.js'
import type { LayerContext } from './ops/layer-context.js'
import { offset, headerWord } from './ops/operands.js'
import type { Activations } from './memory/activations.js'
import { Layout } from './memory/layout.js'
import { ProgramBuilder } from './ops/program-builder.js'
import { at, type Operand } from '../program/operand.js'
import { addRouterScores } from './ops/routed-ops.js'
import { addRotaryTable, type RotarySource, type RotaryTable, rotaryTableWords } from './ops/rotary-ops.js'
import {
  addProjection,
  addSelections,
  addFullSequenceLayer,
  addSlots,
  planFullSequence,
  type FullSequenceMemory,
} from './ops/full-sequence-ops.js'
import type { LayerWeights, RoutingWeights } from './memory/layer-weights.js'

/** The programs of a full-sequence layer. */
export interface FullSequencePrograms {
  /** Undefined if the layer has only local attention. */
  readonly routing: RoutingPrograms | undefined
  /** Run for each chunk: computes its outputs. */
  readonly chunk: Program
}

/** The programs that decide a sequence's routing. */
export interface RoutingPrograms {
  /** The next three as one program, for sequences short enough for a single dispatch of each. */
  readonly decisions: Program
  /** Run for each chunk: computes its router scores. */
  readonly routerScores: Program
  /** Run for each window except the first, in ascending order. */
  readonly selections: Program
  readonly slots: Program
  /** By expert; run for each batch of its selected tokens. */
  readonly projections: readonly Program[]
}

/** Selected tokens projected per dispatch; at least as many as a chunk has. */
const PROJECTED_ROWS = 512

/** What the programs of full-sequence layers share, also across a model's blocks. */
export interface FullSequenceContext {
  readonly geometry: Geometry
  readonly scratch: LayerScratch
  readonly state: LayerState
  readonly memory: FullSequenceMemory
  /** Maximum selected tokens per projection, and the location of their normalised rows. */
  readonly chosenRows: number
  readonly normedRows: Operand
  readonly local: RotarySource
  readonly routed: RotarySource | undefined
  /** Rotary tables for a chunk's rows. */
  readonly localRows: Operand
  readonly routedRows: Operand
}

/** @param finish adds the ops that follow the layer in the chunk's program */
export function writeFullSequencePrograms(
  shared: FullSequenceContext,
  weights: LayerWeights,
  options: Pick<LayerContext, 'output' | 'outputRows' | 'residual' | 'trace'> & { readonly activations: Activations | undefined },
  finish: (builder: ProgramBuilder) => void = () => undefined,
): FullSequencePrograms {
  const { geometry, scratch, state, memory } = shared
  const { activations, ...output } = options
  const rows = { count: headerWord(DispatchHeader.Rows) }
  return {
    routing: weights.routing && writeRoutingPrograms(shared, weights.routing, activations),
    chunk: write(activations, (builder) => {
      const localTable = addRotaryTable(builder, shared.local, rows, shared.localRows).rows
      const routed = weights.routing && shared.routed
      if (routed || geometry.config.prenorm) builder.skipBarrier()
      const routedTable: RotaryTable | undefined = routed && addRotaryTable(builder, routed, rows, shared.routedRows)
      addFullSequenceLayer(
        {
          builder,
          geometry,
          weights,
          scratch,
          state,
          input: at(BufferIndex.Input),
          ...output,
          localTable,
          routedTable,
        },
        memory,
      )
      finish(builder)
    }),
  }
}

function write(activations: Activations | undefined, add: (builder: ProgramBuilder) => void): Program {
  const builder = new ProgramBuilder(activations)
  add(builder)
  return builder.finish()
}

function writeRoutingPrograms(shared: FullSequenceContext, routing: RoutingWeights, activations: Activations | undefined): RoutingPrograms {
  const { geometry, memory } = shared
  const routerScores = (builder: ProgramBuilder) =>
    addRouterScores(
      { builder, geometry, routing, input: at(BufferIndex.Input) },
      {
        products: memory.routerProducts,
        queries: memory.queryRouterScores,
        keyValues: memory.keyValueRouterScores,
        capacity: memory.capacity,
        first: headerWord(DispatchHeader.FirstRow),
      },
    )
  const selections = (builder: ProgramBuilder) => addSelections(builder, geometry, memory)
  const slots = (builder: ProgramBuilder) => addSlots(builder, geometry, memory)
  return {
    decisions: write(undefined, (builder) => [routerScores, selections, slots].forEach((add) => add(builder))),
    routerScores: write(undefined, routerScores),
    selections: write(undefined, selections),
    slots: write(undefined, slots),
    projections: routing.experts.map((expert, index) =>
      write(activations, (builder) => {
        const count = memory.slotStride > 0 ? offset(memory.counts, index) : headerWord(DispatchHeader.Rows)
        const table =
          shared.routed && addRotaryTable(builder, shared.routed, { count, indices: at(BufferIndex.SelectedPositions) }, shared.routedRows)
        addProjection(builder, geometry, expert, count, shared.normedRows, table)
      }),
    ),
  }
}

/** The memory used by the programs of `writeFullSequencePrograms`. */
export interface FullSequencePlan extends FullSequenceContext {
  readonly scratchLayout: Layout
  readonly stateBytes: number
  /** Size of `BufferIndex.Contexts`, which like scratch belongs to one chunk. */
  readonly contextBytes: number
  readonly callBytes: number
}

export function planFullSequenceContext(
  config: LayerConfig,
  local: RotarySource,
  routed: RotarySource | undefined,
  length: number,
  limits: PlanLimits,
): FullSequencePlan {
  const { partitions } = limits
  const geometry = createGeometry(config, contextsOf(config, length), length, limits)
  const scratchLayout = new Layout()
  const stateLayout = new Layout()
  const contextLayout = new Layout()
  const callLayout = new Layout()
  const table = (rows: number, width: number) => at(BufferIndex.Scratch, scratchLayout.words(rotaryTableWords(rows, width)))
  const memory = planFullSequence(callLayout, geometry, length, limits)
  const chosenRows = memory.slotStride || Math.min(Math.max(PROJECTED_ROWS, geometry.chunkRows), length)
  return {
    geometry,
    scratch: planLayerScratch(scratchLayout, geometry, partitions),
    state: planFullSequenceLayerState(stateLayout, contextLayout, geometry),
    memory,
    chosenRows,
    normedRows: at(BufferIndex.Scratch, scratchLayout.words(chosenRows * geometry.stride)),
    local,
    routed,
    localRows: table(geometry.chunkRows, local.width),
    routedRows: table(Math.max(geometry.chunkRows, chosenRows), routed?.width ?? 0),
    scratchLayout,
    stateBytes: stateLayout.byteLength,
    contextBytes: contextLayout.byteLength,
    callBytes: callLayout.byteLength,
  }
}
