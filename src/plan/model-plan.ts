import type { LayerConfig, ModelConfig } from './config.js'
import { isRouted } from './routed-blocks.js'
import { BufferIndex, DispatchHeader } from '../../assembly/ir/header.js'
import type { Program } from '../device/device.js'
import { addCausalLayer, addOpening } from './ops/causal-ops.js'
import { type Capacity, createGeometry, type Geometry } from './geometry.js'
import { type CausalState, planCausalState, planContextUpdateScratch, planLayerScratch, planLocalState } from './memory/layer-memory.js'
import {
  contextsOf,
  planFullSequenceContext,
  type FullSequencePlan,
  type FullSequencePrograms,
  writeFullSequencePrograms,
} from './layer-plan.js'
import { headerWord, type RotaryTable } from './ops/layer-ops.js'
import { Layout } from './memory/layout.js'
import type { ModelParameters } from './memory/model-parameters.js'
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
import { addRotaryTable, type RotarySource, rotaryTableWords } from './ops/rotary-ops.js'

/** What every model's plan tells. */
export interface ModelPlan {
  readonly geometry: Geometry
  readonly scratchBytes: number
  readonly stateBytes: number
  readonly scratch: ModelScratch
  readonly head: Program
  /** The end of `head`: from logits on. */
  readonly logProbabilities: Program
}

/** A strictly causal model: one program for a chunk, embedding to logits. */
export interface CausalModelPlan extends ModelPlan {
  readonly states: readonly CausalState[]
  readonly open: Program
  readonly chunk: Program
  /** The chunk's rows, in the scratch: what `BufferIndex.Input` is bound to. */
  readonly streamOffset: number
}

/** @param length most tokens that a sequence will have: `planBucket` */
export function planCausalModel(config: ModelConfig, parameters: ModelParameters, length: number, capacity: Capacity): CausalModelPlan {
  const { layer } = config
  const { partitions } = capacity
  const geometry = createGeometry(layer, contextsOf(layer, length), length, capacity)
  const scratchLayout = new Layout()
  const layerScratch = planLayerScratch(scratchLayout, geometry, partitions)
  const contextUpdate = planContextUpdateScratch(scratchLayout, geometry)
  const scratch = planModelScratch(scratchLayout, config, geometry)
  const streamOffset = scratchLayout.words(geometry.chunkRows * geometry.stride)
  const table = (rows: number) => at(BufferIndex.Scratch, scratchLayout.words(rotaryTableWords(rows, layer.dimHead)))
  const stateLayout = new Layout()
  const states = parameters.layers.map((_, index) => (isRouted(config, index) ? planCausalState : planLocalState)(stateLayout, geometry))
  const context: ModelContext = { config, geometry, parameters, scratch, normed: layerScratch.normed, sum: layerScratch.local }

  const builder = new ProgramBuilder()
  addEmbedding(builder, context)
  builder.skipBarrier()
  const source: RotarySource = { kind: 'positions', frequencies: parameters.frequencies, width: layer.dimHead }
  const chunkTable = addRotaryTable(builder, source, { count: headerWord(DispatchHeader.Rows) }, table(geometry.chunkRows))
  let windowTable: RotaryTable | undefined
  if (config.routedRotaryEmb) {
    const rows = { count: headerWord(DispatchHeader.ClosingRows), start: DispatchHeader.WindowPosition } as const
    builder.skipBarrier()
    windowTable = addRotaryTable(builder, source, rows, table(geometry.windowCapacity))
  }
  // what is normalised first are the rows that the same partition embedded
  if (layer.prenorm) builder.skipBarrier()
  parameters.layers.forEach(({ attention, feedForward }, index) => {
    const result = layerOutput(context, index === config.depth - 1)
    addCausalLayer({
      builder,
      geometry,
      weights: attention,
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

  const opening = new ProgramBuilder()
  parameters.layers.forEach(({ attention }, index) => addOpening(opening, geometry, attention, states[index]!))
  return {
    geometry,
    scratchBytes: scratchLayout.byteLength,
    stateBytes: stateLayout.byteLength,
    scratch,
    states,
    streamOffset,
    open: opening.finish(),
    chunk: builder.finish(),
    head: writeHead(context),
    logProbabilities: writeLogProbabilities(context),
  }
}

/** A model with the published routing: the whole sequence passes through one layer after the other. */
export interface FullSequenceModelPlan extends ModelPlan {
  readonly sequence: FullSequencePlan
  /** For each chunk: token ids to rows. */
  readonly embed: Program
  /** The last one's chunks end with their logits. */
  readonly layers: readonly FullSequencePrograms[]
}

export function planFullSequenceModel(
  config: ModelConfig,
  parameters: ModelParameters,
  length: number,
  capacity: Capacity,
): FullSequenceModelPlan {
  const { layer } = config
  const source: RotarySource = { kind: 'positions', frequencies: parameters.frequencies, width: layer.dimHead }
  const sequence = planFullSequenceContext(layer, source, config.routedRotaryEmb ? source : undefined, length, capacity)
  const { geometry, scratchLayout } = sequence
  const scratch = planModelScratch(scratchLayout, config, geometry)
  const context: ModelContext = { config, geometry, parameters, scratch, normed: sequence.scratch.normed, sum: sequence.scratch.local }
  const embedding = new ProgramBuilder()
  addEmbedding(embedding, context)
  return {
    geometry,
    scratchBytes: scratchLayout.byteLength,
    stateBytes: sequence.stateBytes,
    scratch,
    sequence,
    embed: embedding.finish(),
    layers: parameters.layers.map(({ attention, feedForward }, index) => {
      const isLast = index === config.depth - 1
      const result = layerOutput(context, isLast)
      return writeFullSequencePrograms(sequence, attention, { ...result, residual: true, trace: false }, (builder) => {
        addFeedForward(builder, context, feedForward, result)
        if (isLast) addHead(builder, context)
      })
    }),
    head: writeHead(context),
    logProbabilities: writeLogProbabilities(context),
  }
}

/** Tokens that the smallest plan is made for. */
const SMALLEST_BUCKET = 1024

/**
 * The most tokens that a plan for a sequence of `length` is made for: a power of two, or Infinity once neither window
 * nor the contexts would need more for any longer one. Sequences that outgrow their plan move to the next, so windows
 * far wider than the text cost no memory.
 */
export function planBucket({ localAttnWindowSize, routedWindowSize, numRoutedKeyValues }: LayerConfig, length: number): number {
  let bucket = SMALLEST_BUCKET
  while (bucket < length) bucket *= 2
  return bucket >= Math.max(localAttnWindowSize, routedWindowSize, numRoutedKeyValues) ? Infinity : bucket
}
