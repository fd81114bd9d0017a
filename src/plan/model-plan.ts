import type { LayerConfig, ModelConfig } from './config.js'
import { countRouted, isRouted } from './routed-layers.js'
import { BufferIndex, DispatchHeader } from '../../assembly/ir/header.js'
import type { Program } from '../device/device.js'
import { addCausalLayer, addContextRestoring, addLocalRestoring, addOpening, addWindowClosing } from './ops/causal-ops.js'
import { contextsOf, createGeometry, type Geometry, type PlanLimits, savableInputRows } from './geometry.js'
import {
  type CausalLayerState,
  planRoutedLayerState,
  planContextUpdateScratch,
  planLayerScratch,
  planLocalLayerState,
} from './memory/layer-memory.js'
import {
  planFullSequenceContext,
  type FullSequencePlan,
  type FullSequencePrograms,
  writeFullSequencePrograms,
} from './full-sequence-plan.js'
import { addInspection, type WeightsOfLayer } from './ops/inspection-ops.js'
import { headerWord } from './ops/operands.js'
import { planActivations } from './memory/activations.js'
import { Layout } from './memory/layout.js'
import { type ModelWeights, maxColumns } from './memory/model-weights.js'
import {
  addEmbedding,
  addFeedForward,
  addHead,
  layerOutput,
  type ModelContext,
  type ModelScratch,
  planModelScratch,
  stream,
  writeHead,
  writeLogProbabilities,
} from './ops/model-ops.js'
import { ProgramBuilder } from './ops/program-builder.js'
import { at } from '../program/operand.js'
import { addRotaryTable, type RotarySource, type RotaryTable, rotaryTableWords } from './ops/rotary-ops.js'

/** The parts common to all model plans. */
export interface ModelPlan {
  readonly geometry: Geometry
  readonly scratchBytes: number
  readonly stateBytes: number
  readonly scratch: ModelScratch
  readonly head: Program
  /** The end of `head`, from logits on. */
  readonly logProbabilities: Program
}

/** Programs that make a restored state's keys and values from the inputs in it. */
export interface RestoringPrograms {
  /** For each chunk of the local window. */
  readonly local: Program
  /** For some tokens of every context, at most `contextRows`: see `addContextRestoring`. Absent if there are none. */
  readonly contexts: Program | undefined
  readonly contextRows: number
}

/** A program that writes what a state's last token attended to, without changing the state. */
export interface InspectionPlan {
  readonly program: Program
  /** For each block, where `BufferIndex.Output` then has its weights. */
  readonly layers: readonly WeightsOfLayer[]
  readonly outputBytes: number
}

/** A causal model: one program for a chunk, from embedding to logits. */
export interface CausalModelPlan extends ModelPlan {
  readonly states: readonly CausalLayerState[]
  readonly open: Program
  readonly chunk: Program
  /**
   * The context update before a window's first token, which `chunk` leaves out if its header has no `ClosingRows`. Absent
   * if there are no contexts.
   */
  readonly close: Program | undefined
  readonly restoring: RestoringPrograms
  /** Written when it is asked for: few sequences are inspected. */
  readonly inspection: () => InspectionPlan
  /** Offset of the chunk's rows in the scratch, where `BufferIndex.Input` is bound. */
  readonly streamOffset: number
}

/** @param length maximum tokens of a sequence: `planBucket` */
export function planCausalModel(config: ModelConfig, parameters: ModelWeights, length: number, limits: PlanLimits): CausalModelPlan {
  const { layer } = config
  const { partitions } = limits
  const sizes = createGeometry(layer, contextsOf(layer, length), length, limits)
  const geometry = { ...sizes, inputRows: savableInputRows(sizes, length) }
  const scratchLayout = new Layout()
  const layerScratch = planLayerScratch(scratchLayout, geometry, partitions)
  const contextUpdate = planContextUpdateScratch(scratchLayout, geometry)
  const scratch = planModelScratch(scratchLayout, config, geometry)
  const streamOffset = scratchLayout.words(geometry.chunkRows * geometry.stride)
  const table = (rows: number) => at(BufferIndex.Scratch, scratchLayout.words(rotaryTableWords(rows, layer.dimHead)))
  const stateLayout = new Layout()
  const states = parameters.blocks.map((_, index) =>
    isRouted(config, index) ? planRoutedLayerState(stateLayout, geometry, true) : planLocalLayerState(stateLayout, geometry),
  )
  const { activationBits: bits } = parameters
  const rows = Math.max(geometry.chunkRows, geometry.windowCapacity)
  const activations = bits && planActivations(scratchLayout, bits, rows, maxColumns(config, geometry))
  const sum = layerScratch.local
  const context: ModelContext = { config, geometry, parameters, scratch, activations, normed: layerScratch.normed, sum }

  const builder = new ProgramBuilder(activations)
  addEmbedding(builder, context)
  builder.skipBarrier()
  const source: RotarySource = { kind: 'positions', frequencies: parameters.frequencies, width: layer.dimHead }
  const chunkTable = addRotaryTable(builder, source, { count: headerWord(DispatchHeader.Rows) }, table(geometry.chunkRows))
  let windowTable: RotaryTable | undefined
  const windowRows = { count: headerWord(DispatchHeader.ClosingRows), start: DispatchHeader.ClosingPosition } as const
  if (config.routedRotaryEmb) {
    builder.skipBarrier()
    windowTable = addRotaryTable(builder, source, windowRows, table(geometry.windowCapacity))
  }
  // the first norm reads rows embedded by the same partition
  if (layer.prenorm) builder.skipBarrier()
  parameters.blocks.forEach(({ layer: weights, feedForward }, index) => {
    const result = layerOutput(context, index === config.depth - 1)
    addCausalLayer({
      builder,
      geometry,
      weights,
      scratch: layerScratch,
      state: states[index]!,
      contextUpdate,
      input: stream,
      ...result,
      residual: true,
      localTable: chunkTable.rows,
      routedTable: config.routedRotaryEmb ? chunkTable : undefined,
      windowTable,
      trace: false,
    })
    addFeedForward(builder, context, feedForward, result)
  })
  addHead(builder, context)

  const closing = new ProgramBuilder(activations)
  if (windowTable) addRotaryTable(closing, source, windowRows, windowTable.rows)
  parameters.blocks.forEach(({ layer: weights }, index) =>
    addWindowClosing({ builder: closing, geometry, weights, state: states[index]!, contextUpdate, windowTable }),
  )

  const restoring = new ProgramBuilder(activations)
  const localTable = addRotaryTable(restoring, source, { count: headerWord(DispatchHeader.Rows) }, chunkTable.rows).rows
  const contextRestoring = new ProgramBuilder(activations)
  const rotary = windowTable && { source, table: windowTable.rows }
  parameters.blocks.forEach(({ layer: weights }, index) => {
    const shared = { geometry, state: states[index]!, contextUpdate }
    addLocalRestoring({ ...shared, builder: restoring, weights, scratch: layerScratch, localTable })
    const { routing } = weights
    routing?.experts.forEach((_, expert) => addContextRestoring({ ...shared, builder: contextRestoring, routing }, expert, rotary))
  })

  const inspection = (): InspectionPlan => {
    const inspecting = new ProgramBuilder(activations)
    const output = new Layout()
    const table = addRotaryTable(inspecting, source, { count: headerWord(DispatchHeader.Rows) }, chunkTable.rows)
    const layers = parameters.blocks.map(({ layer: weights }, index) =>
      addInspection(
        {
          builder: inspecting,
          geometry,
          weights,
          scratch: layerScratch,
          state: states[index]!,
          localTable: table.rows,
          routedTable: config.routedRotaryEmb ? table : undefined,
        },
        output,
      ),
    )
    return { program: inspecting.finish(), layers, outputBytes: output.byteLength }
  }

  const opening = new ProgramBuilder()
  parameters.blocks.forEach(({ layer: weights }, index) => addOpening(opening, geometry, weights, states[index]!))
  return {
    geometry,
    scratchBytes: scratchLayout.byteLength,
    stateBytes: stateLayout.byteLength,
    scratch,
    states,
    streamOffset,
    open: opening.finish(),
    chunk: builder.finish(),
    close: countRouted(config) > 0 ? closing.finish() : undefined,
    restoring: {
      local: restoring.finish(),
      contexts: countRouted(config) > 0 ? contextRestoring.finish() : undefined,
      contextRows: contextUpdate.rows,
    },
    inspection,
    head: writeHead(context),
    logProbabilities: writeLogProbabilities(context),
  }
}

/** A model with full-sequence routing: the whole sequence passes through one block after another. */
export interface FullSequenceModelPlan extends ModelPlan {
  readonly sequence: FullSequencePlan
  /** For each chunk: token ids to rows. */
  readonly embed: Program
  /** The chunks of the last one end with their logits. */
  readonly blocks: readonly FullSequencePrograms[]
}

export function planFullSequenceModel(
  config: ModelConfig,
  parameters: ModelWeights,
  length: number,
  limits: PlanLimits,
): FullSequenceModelPlan {
  const { layer } = config
  const source: RotarySource = { kind: 'positions', frequencies: parameters.frequencies, width: layer.dimHead }
  const sequence = planFullSequenceContext(layer, source, config.routedRotaryEmb ? source : undefined, length, limits)
  const { geometry, scratchLayout } = sequence
  const scratch = planModelScratch(scratchLayout, config, geometry)
  const { activationBits: bits } = parameters
  const rows = Math.max(geometry.chunkRows, sequence.chosenRows)
  const activations = bits && planActivations(scratchLayout, bits, rows, maxColumns(config, geometry))
  const { normed, local: sum } = sequence.scratch
  const context: ModelContext = { config, geometry, parameters, scratch, activations, normed, sum }
  const embedding = new ProgramBuilder()
  addEmbedding(embedding, context)
  return {
    geometry,
    scratchBytes: scratchLayout.byteLength,
    stateBytes: sequence.stateBytes,
    scratch,
    sequence,
    embed: embedding.finish(),
    blocks: parameters.blocks.map(({ layer: weights, feedForward }, index) => {
      const isLast = index === config.depth - 1
      const result = layerOutput(context, isLast)
      return writeFullSequencePrograms(sequence, weights, { ...result, residual: true, trace: false, activations }, (builder) => {
        addFeedForward(builder, context, feedForward, result)
        if (isLast) addHead(builder, context)
      })
    }),
    head: writeHead(context),
    logProbabilities: writeLogProbabilities(context),
  }
}

/** Number of tokens for the smallest plan. */
const SMALLEST_BUCKET = 1024

/**
 * Maximum tokens of the plan for a sequence of `length`: a power of two, or Infinity once neither window nor contexts
 * would need more for any longer sequence. Sequences that outgrow their plan move to the next, so windows far wider
 * than the text cost no memory.
 */
export function planBucket({ localAttnWindowSize, routedWindowSize, numRoutedKeyValues }: LayerConfig, length: number): number {
  let bucket = SMALLEST_BUCKET
  while (bucket < length) bucket *= 2
  return bucket >= Math.max(localAttnWindowSize, routedWindowSize, numRoutedKeyValues) ? Infinity : bucket
}
