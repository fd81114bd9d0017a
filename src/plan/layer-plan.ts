import { Buffer, Piece } from '../../assembly/steps.js'
import type { Program, WeightLayout } from '../device/device.js'
import { addCausalLayer, addOpening } from './causal-steps.js'
import { type Capacity, createGeometry, type Geometry, type LayerConfig } from './geometry.js'
import {
  type CausalState,
  type LayerScratch,
  type LayerState,
  planCausalState,
  planClosingScratch,
  planLayerScratch,
  planSequenceState,
} from './layer-memory.js'
import { addSimilarities, EVERY_ROW, type LayerContext, offset, pieceWord, type RotaryTable } from './layer-steps.js'
import { Layout } from './layout.js'
import { at, type Operand, ProgramBuilder } from './program-builder.js'
import { addRotaryTable, type RotarySource, rotaryTableWords } from './rotary-steps.js'
import { addProjection, addSelections, addSequenceLayer, addSlots, planSequence, type SequenceMemory } from './sequence-steps.js'
import { type LayerWeights, planLayerWeights, WeightPlan } from './weights.js'

/** Packed parameters of one layer. */
export interface LayerParameters {
  readonly layout: WeightLayout
  readonly weights: LayerWeights
  readonly frequencies: Operand
}

export function planLayerParameters(numbers: LayerConfig): LayerParameters {
  const plan = new WeightPlan()
  const frequencies = plan.frequencies(numbers.dimHead)
  const weights = planLayerWeights(plan, createGeometry(numbers, 0), '')
  return { layout: plan.finish(), weights, frequencies }
}

/** Key/values that `length` tokens can come to choose among, at most. */
export function contextsOf({ numRoutedKeyValues, routedWindowSize }: LayerConfig, length: number): number {
  return Math.min(numRoutedKeyValues, Math.ceil(length / routedWindowSize) * routedWindowSize)
}

/** How a call of a layer differs from another: what its programs are written for. */
export interface LayerCall {
  /** Tokens in the longest sequence. */
  readonly length: number
  /** Width of the caller's angles (`dimHead`, or `heads · dimHead`), or none. */
  readonly angleWidth: number | undefined
  readonly trace: boolean
  readonly capacity: Capacity
}

function rotarySource({ dimHead }: LayerConfig, angleWidth: number | undefined): RotarySource | undefined {
  if (angleWidth === undefined) return undefined
  return { kind: 'angles', angles: at(Buffer.Angles), width: angleWidth, angleStride: angleWidth === dimHead ? 0 : dimHead }
}

/** A strictly causal layer: one program for every piece. */
export interface CausalLayerPlan {
  readonly geometry: Geometry
  readonly scratchBytes: number
  readonly stateBytes: number
  readonly scratch: LayerScratch
  readonly state: CausalState
  /** Run once on a zeroed state. */
  readonly open: Program
  /** Run for each piece, from `Buffer.Input` to `Buffer.Output`. */
  readonly piece: Program
}

export function planCausalLayer(numbers: LayerConfig, parameters: LayerParameters, call: LayerCall): CausalLayerPlan {
  const { shares } = call.capacity
  const geometry = createGeometry(numbers, contextsOf(numbers, call.length), call.length, call.capacity)
  const scratchLayout = new Layout()
  const scratch = planLayerScratch(scratchLayout, geometry, shares)
  const closing = planClosingScratch(scratchLayout, geometry)
  const stateLayout = new Layout()
  const state = planCausalState(stateLayout, geometry)
  const table = (rows: number, width: number) => at(Buffer.Scratch, scratchLayout.words(rotaryTableWords(rows, width)))

  const builder = new ProgramBuilder()
  const local: RotarySource = { kind: 'positions', frequencies: parameters.frequencies, width: numbers.dimHead }
  const rows = { count: pieceWord(Piece.Rows) }
  const localTable = addRotaryTable(builder, local, rows, table(geometry.pieceRows, numbers.dimHead)).rows
  const source = rotarySource(numbers, call.angleWidth)
  if (source || numbers.prenorm) builder.join()
  const routedTable = source && addRotaryTable(builder, source, rows, table(geometry.pieceRows, source.width))
  const windowRows = { count: pieceWord(Piece.ClosingRows), start: Piece.WindowPosition } as const
  const windowTable = source && addRotaryTable(builder, source, windowRows, table(geometry.windowCapacity, source.width))
  const context: LayerContext = {
    builder,
    geometry,
    weights: parameters.weights,
    scratch,
    state,
    input: at(Buffer.Input),
    output: at(Buffer.Output),
    outputRows: EVERY_ROW,
    residual: false,
    localTable,
    routedTable,
    trace: call.trace,
  }
  addCausalLayer({ ...context, state, closing, windowTable })

  const opening = new ProgramBuilder()
  addOpening(opening, geometry, parameters.weights, state)
  return {
    geometry,
    scratchBytes: scratchLayout.byteLength,
    stateBytes: stateLayout.byteLength,
    scratch,
    state,
    open: opening.finish(),
    piece: builder.finish(),
  }
}

/** The programs of one layer that sees the whole sequence before it answers for any of it. */
export interface SequencePrograms {
  /** The next three in one, for sequences that one run of each can take. */
  readonly decisions: Program
  /** For each piece: its similarities. */
  readonly similarities: Program
  /** For each window but the first, ascending. */
  readonly selections: Program
  readonly slots: Program
  /** For each block of an expert's chosen tokens. */
  readonly projections: readonly Program[]
  /** For each piece: its outputs. */
  readonly piece: Program
}

/** Chosen tokens that are projected in one run, or as many as a piece has. */
const PROJECTED_ROWS = 512

/** What the programs of such a layer share; of several layers, too. */
export interface SequenceContext {
  readonly geometry: Geometry
  readonly scratch: LayerScratch
  readonly state: LayerState
  readonly memory: SequenceMemory
  /** Chosen tokens of one projection, at most, and where their normalised rows lie. */
  readonly chosenRows: number
  readonly normedRows: Operand
  readonly local: RotarySource
  readonly routed: RotarySource | undefined
  /** Tables of a piece's rows. */
  readonly localRows: Operand
  readonly routedRows: Operand
}

/** @param finish adds what follows the layer in the piece's program */
export function writeSequencePrograms(
  shared: SequenceContext,
  weights: LayerWeights,
  options: Pick<LayerContext, 'output' | 'outputRows' | 'residual' | 'trace'>,
  finish: (builder: ProgramBuilder) => void = () => undefined,
): SequencePrograms {
  const { geometry, scratch, state, memory } = shared
  const input = at(Buffer.Input)
  const write = (add: (builder: ProgramBuilder) => void): Program => {
    const builder = new ProgramBuilder()
    add(builder)
    return builder.finish()
  }
  const rows = { count: pieceWord(Piece.Rows) }
  const similarities = (builder: ProgramBuilder) =>
    addSimilarities(
      { builder, geometry, weights, input },
      {
        products: memory.similarityProducts,
        queries: memory.querySimilarities,
        keyValues: memory.keyValueSimilarities,
        capacity: memory.capacity,
        first: pieceWord(Piece.FirstRow),
      },
    )
  const selections = (builder: ProgramBuilder) => addSelections(builder, geometry, memory)
  const slots = (builder: ProgramBuilder) => addSlots(builder, geometry, memory)
  return {
    decisions: write((builder) => [similarities, selections, slots].forEach((add) => add(builder))),
    similarities: write(similarities),
    selections: write(selections),
    slots: write(slots),
    projections: weights.experts.map((expert, index) =>
      write((builder) => {
        const count = memory.slotStride > 0 ? offset(memory.counts, index) : rows.count
        const table = shared.routed && addRotaryTable(builder, shared.routed, { count, indices: at(Buffer.Chosen) }, shared.routedRows)
        addProjection(builder, geometry, expert, count, shared.normedRows, table)
      }),
    ),
    piece: write((builder) => {
      const localTable = addRotaryTable(builder, shared.local, rows, shared.localRows).rows
      if (shared.routed || geometry.numbers.prenorm) builder.join()
      const routedTable: RotaryTable | undefined = shared.routed && addRotaryTable(builder, shared.routed, rows, shared.routedRows)
      addSequenceLayer(
        {
          builder,
          geometry,
          weights,
          scratch,
          state,
          input,
          ...options,
          localTable,
          routedTable,
        },
        memory,
      )
      finish(builder)
    }),
  }
}

/** Memory that the programs of `writeSequencePrograms` work in. */
export interface SequencePlan extends SequenceContext {
  readonly scratchLayout: Layout
  readonly stateBytes: number
  /** Of `Buffer.Contexts`: a piece's own, like the scratch. */
  readonly contextBytes: number
  readonly callBytes: number
}

export function planSequenceContext(
  numbers: LayerConfig,
  local: RotarySource,
  routed: RotarySource | undefined,
  length: number,
  capacity: Capacity,
): SequencePlan {
  const { shares } = capacity
  const geometry = createGeometry(numbers, contextsOf(numbers, length), length, capacity)
  const scratchLayout = new Layout()
  const stateLayout = new Layout()
  const contextLayout = new Layout()
  const callLayout = new Layout()
  const table = (rows: number, width: number) => at(Buffer.Scratch, scratchLayout.words(rotaryTableWords(rows, width)))
  const memory = planSequence(callLayout, geometry, length, capacity)
  const chosenRows = memory.slotStride || Math.min(Math.max(PROJECTED_ROWS, geometry.pieceRows), length)
  return {
    geometry,
    scratch: planLayerScratch(scratchLayout, geometry, shares),
    state: planSequenceState(stateLayout, contextLayout, geometry),
    memory,
    chosenRows,
    normedRows: at(Buffer.Scratch, scratchLayout.words(chosenRows * geometry.stride)),
    local,
    routed,
    localRows: table(geometry.pieceRows, local.width),
    routedRows: table(Math.max(geometry.pieceRows, chosenRows), routed?.width ?? 0),
    scratchLayout,
    stateBytes: stateLayout.byteLength,
    contextBytes: contextLayout.byteLength,
    callBytes: callLayout.byteLength,
  }
}

/** A layer with the published routing. */
export interface SequenceLayerPlan extends SequencePlan {
  readonly programs: SequencePrograms
}

export function planSequenceLayer(numbers: LayerConfig, parameters: LayerParameters, call: LayerCall): SequenceLayerPlan {
  const local: RotarySource = { kind: 'positions', frequencies: parameters.frequencies, width: numbers.dimHead }
  const plan = planSequenceContext(numbers, local, rotarySource(numbers, call.angleWidth), call.length, call.capacity)
  const programs = writeSequencePrograms(plan, parameters.weights, {
    output: at(Buffer.Output),
    outputRows: EVERY_ROW,
    residual: false,
    trace: call.trace,
  })
  return { ...plan, programs }
}
