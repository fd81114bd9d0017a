import type { LayerConfig } from './config.js'
import { BufferIndex, DispatchHeader } from '../../assembly/ir/header.js'
import type { Program, WeightLayout } from '../device/device.js'
import { addCausalLayer, addOpening } from './ops/causal-ops.js'
import { createGeometry, type Geometry, type PlanLimits } from './geometry.js'
import {
  type RoutedLayerState,
  type LayerScratch,
  type LayerState,
  planRoutedLayerState,
  planContextUpdateScratch,
  planLayerScratch,
  planFullSequenceLayerState,
} from './memory/layer-memory.js'
import { addRouterScores, EVERY_ROW, type LayerContext, offset, headerWord, type RotaryTable } from './ops/layer-ops.js'
import type { Activations } from './memory/activations.js'
import { Layout } from './memory/layout.js'
import { ProgramBuilder } from './ops/program-builder.js'
import { at, type Operand } from '../program/operand.js'
import { addRotaryTable, type RotarySource, rotaryTableWords } from './ops/rotary-ops.js'
import {
  addProjection,
  addSelections,
  addFullSequenceLayer,
  addSlots,
  planFullSequence,
  type FullSequenceMemory,
} from './ops/full-sequence-ops.js'
import { type LayerWeights, planLayerWeights, type RoutingWeights } from './memory/layer-weights.js'
import { WeightPlan } from './memory/weight-plan.js'

/** Packed weights of a layer that is used on its own, outside a model. */
export interface StandaloneWeights {
  readonly layout: WeightLayout
  readonly weights: LayerWeights
  readonly frequencies: Operand
}

export function planStandaloneWeights(config: LayerConfig): StandaloneWeights {
  const plan = new WeightPlan()
  const frequencies = plan.frequencies(config.dimHead)
  const weights = planLayerWeights(plan, config)
  return { layout: plan.finish(), weights, frequencies }
}

/** Maximum context size that `length` tokens can fill. */
export function contextsOf({ numRoutedKeyValues, routedWindowSize }: LayerConfig, length: number): number {
  return Math.min(numRoutedKeyValues, Math.ceil(length / routedWindowSize) * routedWindowSize)
}

/** What the programs of a layer depend on besides its options. */
export interface LayerCall {
  /** Tokens in the longest sequence. */
  readonly length: number
  /** Width of the caller's angles: `dimHead` or `heads · dimHead`; undefined without angles. */
  readonly angleWidth: number | undefined
  readonly trace: boolean
  readonly limits: PlanLimits
}

function rotarySource({ dimHead }: LayerConfig, angleWidth: number | undefined): RotarySource | undefined {
  if (angleWidth === undefined) return undefined
  return { kind: 'angles', angles: at(BufferIndex.Angles), width: angleWidth, angleStride: angleWidth === dimHead ? 0 : dimHead }
}

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
  const windowRows = { count: headerWord(DispatchHeader.ClosingRows), start: DispatchHeader.WindowPosition } as const
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
        const table = shared.routed && addRotaryTable(builder, shared.routed, { count, indices: at(BufferIndex.Chosen) }, shared.routedRows)
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

/** The plan of a layer with the published routing. */
export interface FullSequenceLayerPlan extends FullSequencePlan {
  readonly programs: FullSequencePrograms
}

export function planFullSequenceLayer(config: LayerConfig, parameters: StandaloneWeights, call: LayerCall): FullSequenceLayerPlan {
  const local: RotarySource = { kind: 'positions', frequencies: parameters.frequencies, width: config.dimHead }
  const plan = planFullSequenceContext(config, local, rotarySource(config, call.angleWidth), call.length, call.limits)
  const programs = writeFullSequencePrograms(plan, parameters.weights, {
    output: at(BufferIndex.Output),
    outputRows: EVERY_ROW,
    residual: false,
    trace: call.trace,
    activations: undefined,
  })
  return { ...plan, programs }
}
