import { Buffer, Piece } from '../../assembly/steps.js'
import type { Program } from '../device/device.js'
import { addCausalLayer, addOpening } from './causal-steps.js'
import { type Capacity, createGeometry, type Geometry, type LayerConfig } from './geometry.js'
import { type CausalState, planCausalState, planClosingScratch, planLayerScratch } from './layer-memory.js'
import { contextsOf, planSequenceContext, type SequencePlan, type SequencePrograms, writeSequencePrograms } from './layer-plan.js'
import { pieceWord, type RotaryTable } from './layer-steps.js'
import { Layout } from './layout.js'
import type { ModelNumbers, ModelParameters } from './model-parameters.js'
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
} from './model-steps.js'
import { at, ProgramBuilder } from './program-builder.js'
import { addRotaryTable, type RotarySource, rotaryTableWords } from './rotary-steps.js'

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

/** A strictly causal model: one program for a piece, embedding to logits. */
export interface CausalModelPlan extends ModelPlan {
  readonly states: readonly CausalState[]
  readonly open: Program
  readonly piece: Program
  /** The piece's rows, in the scratch: what `Buffer.Input` is bound to. */
  readonly streamOffset: number
}

/** @param length most tokens that a sequence will have: `planTier` */
export function planCausalModel(numbers: ModelNumbers, parameters: ModelParameters, length: number, capacity: Capacity): CausalModelPlan {
  const { layer } = numbers
  const { shares } = capacity
  const geometry = createGeometry(layer, contextsOf(layer, length), length, capacity)
  const scratchLayout = new Layout()
  const layerScratch = planLayerScratch(scratchLayout, geometry, shares)
  const closing = planClosingScratch(scratchLayout, geometry)
  const scratch = planModelScratch(scratchLayout, numbers, geometry)
  const streamOffset = scratchLayout.words(geometry.pieceRows * geometry.stride)
  const table = (rows: number) => at(Buffer.Scratch, scratchLayout.words(rotaryTableWords(rows, layer.dimHead)))
  const stateLayout = new Layout()
  const states = parameters.layers.map(() => planCausalState(stateLayout, geometry))
  const context: ModelContext = { numbers, geometry, parameters, scratch, normed: layerScratch.normed, sum: layerScratch.local }

  const builder = new ProgramBuilder()
  addEmbedding(builder, context)
  builder.join()
  const source: RotarySource = { kind: 'positions', frequencies: parameters.frequencies, width: layer.dimHead }
  const pieceTable = addRotaryTable(builder, source, { count: pieceWord(Piece.Rows) }, table(geometry.pieceRows))
  let windowTable: RotaryTable | undefined
  if (numbers.routedRotaryEmb) {
    const rows = { count: pieceWord(Piece.ClosingRows), start: Piece.WindowPosition } as const
    builder.join()
    windowTable = addRotaryTable(builder, source, rows, table(geometry.windowCapacity))
  }
  // what is normalised first are the rows that the same share embedded
  if (layer.prenorm) builder.join()
  parameters.layers.forEach(({ attention, feedForward }, index) => {
    const result = layerOutput(context, index === numbers.depth - 1)
    addCausalLayer({
      builder,
      geometry,
      weights: attention,
      scratch: layerScratch,
      state: states[index]!,
      closing,
      input: stream,
      ...result,
      residual: true,
      localTable: pieceTable.rows,
      routedTable: numbers.routedRotaryEmb ? pieceTable : undefined,
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
    piece: builder.finish(),
    head: writeHead(context),
    logProbabilities: writeLogProbabilities(context),
  }
}

/** A model with the published routing: the whole sequence passes through one layer after the other. */
export interface SequenceModelPlan extends ModelPlan {
  readonly sequence: SequencePlan
  /** For each piece: token ids to rows. */
  readonly embed: Program
  /** The last one's pieces end with their logits. */
  readonly layers: readonly SequencePrograms[]
}

export function planSequenceModel(
  numbers: ModelNumbers,
  parameters: ModelParameters,
  length: number,
  capacity: Capacity,
): SequenceModelPlan {
  const { layer } = numbers
  const source: RotarySource = { kind: 'positions', frequencies: parameters.frequencies, width: layer.dimHead }
  const sequence = planSequenceContext(layer, source, numbers.routedRotaryEmb ? source : undefined, length, capacity)
  const { geometry, scratchLayout } = sequence
  const scratch = planModelScratch(scratchLayout, numbers, geometry)
  const context: ModelContext = { numbers, geometry, parameters, scratch, normed: sequence.scratch.normed, sum: sequence.scratch.local }
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
      const isLast = index === numbers.depth - 1
      const result = layerOutput(context, isLast)
      return writeSequencePrograms(sequence, attention, { ...result, residual: true, trace: false }, (builder) => {
        addFeedForward(builder, context, feedForward, result)
        if (isLast) addHead(builder, context)
      })
    }),
    head: writeHead(context),
    logProbabilities: writeLogProbabilities(context),
  }
}

/** Tokens that the smallest plan is made for. */
const SMALLEST_TIER = 1024

/**
 * The most tokens that a plan for a sequence of `length` is made for: a power of two, or Infinity once neither window nor the contexts would need more
 * for any longer one. Sequences that outgrow their plan move to the next, so windows far wider than the text cost no memory.
 */
export function planTier({ localAttnWindowSize, routedWindowSize, numRoutedKeyValues }: LayerConfig, length: number): number {
  let tier = SMALLEST_TIER
  while (tier < length) tier *= 2
  return tier >= Math.max(localAttnWindowSize, routedWindowSize, numRoutedKeyValues) ? Infinity : tier
}
