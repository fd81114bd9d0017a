import { Activation, Buffer, Embed, LogProbabilities, Norm, Normalise, Opcode, Piece } from '../../assembly/steps.js'
import type { Program, WeightLayout } from '../device/device.js'
import { addCausalLayer, addOpening } from './causal-steps.js'
import { createGeometry, type Geometry, type LayerNumbers, workPerToken } from './geometry.js'
import { type CausalState, planCausalState, planClosingScratch, planLayerScratch } from './layer-memory.js'
import { contextsOf, planSequenceContext, type SequencePlan, type SequencePrograms, writeSequencePrograms } from './layer-plan.js'
import { addProduct, pieceWord, type RotaryTable } from './layer-steps.js'
import { Layout, roundUp } from './layout.js'
import { at, type Operand, ProgramBuilder } from './program-builder.js'
import { addRotaryTable, type RotarySource, rotaryTableWords } from './rotary-steps.js'
import { type LayerWeights, planLayerWeights, WeightPlan } from './weights.js'

/** What a plan needs to know of a language model (SPEC section 7). */
export interface ModelNumbers {
  readonly layer: LayerNumbers
  readonly numTokens: number
  readonly depth: number
  readonly feedForwardMultiplier: number
  readonly routedRotaryEmb: boolean
  readonly maxPositions: number | null
}

interface FeedForwardWeights {
  readonly norm: Operand
  readonly up: Operand
  readonly upBias: Operand
  readonly down: Operand
  readonly downBias: Operand
}

/** Packed parameters of a model. */
export interface ModelParameters {
  readonly layout: WeightLayout
  readonly tokens: Operand
  readonly positions: Operand | undefined
  readonly frequencies: Operand
  readonly layers: readonly { readonly attention: LayerWeights; readonly feedForward: FeedForwardWeights }[]
  readonly norm: Operand
  readonly head: Operand
  readonly headBias: Operand
}

export function planModelParameters({ layer, numTokens, depth, feedForwardMultiplier, maxPositions }: ModelNumbers): ModelParameters {
  const plan = new WeightPlan()
  const { dim } = layer
  const hidden = dim * feedForwardMultiplier
  const geometry = createGeometry(layer, 0)
  const frequencies = plan.frequencies(layer.dimHead)
  const tokens = plan.rows('token_emb.weight', numTokens, dim)
  const positions = maxPositions === null ? undefined : plan.rows('pos_emb.weight', maxPositions, dim)
  const layers = Array.from({ length: depth }, (_, index) => {
    const prefix = `layers.${index}.1.`
    return {
      attention: planLayerWeights(plan, geometry, `layers.${index}.0.`),
      feedForward: {
        norm: plan.vector(`${prefix}0.gamma`, dim),
        up: plan.linear(`${prefix}1.weight`, hidden, dim),
        upBias: plan.vector(`${prefix}1.bias`, hidden),
        down: plan.linear(`${prefix}3.weight`, dim, hidden),
        downBias: plan.vector(`${prefix}3.bias`, dim),
      },
    }
  })
  const norm = plan.vector('to_logits.0.gamma', dim)
  const head = plan.linear('to_logits.1.weight', numTokens, dim)
  const headBias = plan.vector('to_logits.1.bias', numTokens)
  return { layout: plan.finish(), tokens, positions, frequencies, layers, norm, head, headBias }
}

/** Working memory around the layers, in `Buffer.Scratch`. A piece's rows are at `Buffer.Input`. */
export interface ModelScratch {
  readonly tokenIds: Operand
  readonly hidden: Operand
  readonly headInput: Operand
  readonly logits: Operand
  /** Rows of logits that fit. */
  readonly headRows: number
  readonly targets: Operand
  readonly logProbabilities: Operand
}

/** Logits of one run take at most about this much, unless one row is more. */
const LOGITS_BYTES = 4 << 20

function planModelScratch(layout: Layout, numbers: ModelNumbers, { pieceRows, stride }: Geometry): ModelScratch {
  const rowWords = roundUp(numbers.numTokens)
  const headRows = Math.max(1, Math.min(pieceRows, Math.floor(LOGITS_BYTES / (rowWords * 4))))
  const words = (count: number) => at(Buffer.Scratch, layout.words(count))
  return {
    tokenIds: words(pieceRows),
    hidden: words(pieceRows * roundUp(numbers.layer.dim * numbers.feedForwardMultiplier)),
    headInput: words(headRows * stride),
    logits: words(headRows * rowWords),
    headRows,
    targets: words(headRows),
    logProbabilities: words(headRows * 2),
  }
}

/** What a step of a model needs to know. */
interface ModelContext {
  readonly numbers: ModelNumbers
  readonly geometry: Geometry
  readonly parameters: ModelParameters
  readonly scratch: ModelScratch
  /** The layers' row for what is normalised, and for the outputs of products that are added to the stream. */
  readonly normed: Operand
  readonly sum: Operand
}

const stream = at(Buffer.Input)

function addEmbedding(builder: ProgramBuilder, { parameters, scratch, geometry }: ModelContext): void {
  builder.step(Opcode.Embed, Embed.Length, {
    [Embed.Rows]: pieceWord(Piece.Rows),
    [Embed.TokenIds]: scratch.tokenIds,
    [Embed.Tokens]: parameters.tokens,
    [Embed.Positions]: parameters.positions,
    [Embed.Output]: stream,
    [Embed.Stride]: geometry.stride,
  })
}

function addFeedForward(builder: ProgramBuilder, context: ModelContext, weights: FeedForwardWeights): void {
  const { numbers, geometry, scratch, normed, sum } = context
  const { dim } = numbers.layer
  const rows = pieceWord(Piece.Rows)
  const hiddenStride = roundUp(dim * numbers.feedForwardMultiplier)
  builder.step(Opcode.Normalise, Normalise.Length, {
    [Normalise.Rows]: rows,
    [Normalise.Input]: stream,
    [Normalise.Output]: normed,
    [Normalise.Weight]: weights.norm,
    [Normalise.Kind]: Norm.RootMeanSquare,
    [Normalise.Width]: dim,
    [Normalise.Stride]: geometry.stride,
  })
  addProduct(builder, {
    rows,
    input: normed,
    weights: weights.up,
    output: scratch.hidden,
    inputStride: geometry.stride,
    depth: dim,
    outputStride: hiddenStride,
    bias: weights.upBias,
    activation: Activation.Gelu,
  })
  addProduct(builder, {
    rows,
    input: scratch.hidden,
    weights: weights.down,
    output: sum,
    inputStride: hiddenStride,
    depth: dim * numbers.feedForwardMultiplier,
    outputStride: geometry.stride,
    bias: weights.downBias,
    addTo: stream,
  })
}

/** Logits of the rows that the piece header asks for, and the probabilities of their targets. */
function addHead(builder: ProgramBuilder, { numbers, geometry, parameters, scratch }: ModelContext): void {
  const rows = pieceWord(Piece.HeadRows)
  const logitStride = roundUp(numbers.numTokens)
  builder.step(Opcode.Normalise, Normalise.Length, {
    [Normalise.Rows]: rows,
    [Normalise.First]: pieceWord(Piece.HeadFirst),
    [Normalise.Input]: stream,
    [Normalise.Output]: scratch.headInput,
    [Normalise.Weight]: parameters.norm,
    [Normalise.Kind]: Norm.RootMeanSquare,
    [Normalise.Width]: numbers.layer.dim,
    [Normalise.Stride]: geometry.stride,
  })
  addProduct(builder, {
    rows,
    input: scratch.headInput,
    weights: parameters.head,
    output: scratch.logits,
    inputStride: geometry.stride,
    depth: numbers.layer.dim,
    outputStride: logitStride,
    bias: parameters.headBias,
  })
  builder.step(Opcode.LogProbabilities, LogProbabilities.Length, {
    [LogProbabilities.Rows]: pieceWord(Piece.TargetRows),
    [LogProbabilities.Logits]: scratch.logits,
    [LogProbabilities.Targets]: scratch.targets,
    [LogProbabilities.Output]: scratch.logProbabilities,
    [LogProbabilities.Stride]: logitStride,
    [LogProbabilities.Width]: numbers.numTokens,
  })
}

/** What every model's plan tells: where token ids go in, and where logits come out. */
export interface ModelPlan {
  readonly geometry: Geometry
  readonly scratchBytes: number
  readonly stateBytes: number
  readonly scratch: ModelScratch
  readonly head: Program
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
export function planCausalModel(numbers: ModelNumbers, parameters: ModelParameters, length: number, shares: number): CausalModelPlan {
  const { layer } = numbers
  const geometry = createGeometry(layer, contextsOf(layer, length), length)
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
  const source: RotarySource = { kind: 'positions', frequencies: parameters.frequencies, width: layer.dimHead }
  const pieceTable = addRotaryTable(builder, source, { count: pieceWord(Piece.Rows) }, table(geometry.pieceRows))
  let windowTable: RotaryTable | undefined
  if (numbers.routedRotaryEmb) {
    const rows = { count: pieceWord(Piece.ClosingRows), start: Piece.WindowPosition } as const
    windowTable = addRotaryTable(builder, source, rows, table(geometry.windowCapacity))
  }
  parameters.layers.forEach(({ attention, feedForward }, index) => {
    addCausalLayer({
      builder,
      geometry,
      weights: attention,
      scratch: layerScratch,
      state: states[index]!,
      closing,
      input: stream,
      output: stream,
      residual: true,
      localTable: pieceTable.rows,
      routedTable: numbers.routedRotaryEmb ? pieceTable : undefined,
      windowTable,
      trace: false,
    })
    addFeedForward(builder, context, feedForward)
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
  }
}

function writeHead(context: ModelContext): Program {
  const builder = new ProgramBuilder()
  addHead(builder, context)
  return builder.finish()
}

/** A model with the published routing: the whole sequence passes through one layer after the other. */
export interface SequenceModelPlan extends ModelPlan {
  readonly sequence: SequencePlan
  /** For each piece: token ids to rows. */
  readonly embed: Program
  readonly layers: readonly SequencePrograms[]
}

export function planSequenceModel(numbers: ModelNumbers, parameters: ModelParameters, length: number, shares: number): SequenceModelPlan {
  const { layer } = numbers
  const source: RotarySource = { kind: 'positions', frequencies: parameters.frequencies, width: layer.dimHead }
  const sequence = planSequenceContext(layer, source, numbers.routedRotaryEmb ? source : undefined, length, shares)
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
    layers: parameters.layers.map(({ attention, feedForward }) =>
      writeSequencePrograms(sequence, attention, { output: stream, residual: true, trace: false }, (builder) =>
        addFeedForward(builder, context, feedForward),
      ),
    ),
    head: writeHead(context),
  }
}

/** Tokens that the smallest plan is made for. */
const SMALLEST_TIER = 1024

/**
 * The most tokens that a plan for a sequence of `length` is made for: a power of two, or Infinity once neither window nor the contexts would need more
 * for any longer one. Sequences that outgrow their plan move to the next, so windows far wider than the text cost no memory.
 */
export function planTier({ localAttnWindowSize, routedWindowSize, numRoutedKeyValues }: LayerNumbers, length: number): number {
  let tier = SMALLEST_TIER
  while (tier < length) tier *= 2
  return tier >= Math.max(localAttnWindowSize, routedWindowSize, numRoutedKeyValues) ? Infinity : tier
}

/** Operations that a token takes in a model, about, multiply and add counted as two; its logits not counted. */
export function modelWorkPerToken({ layer, depth, feedForwardMultiplier }: ModelNumbers): number {
  return depth * (workPerToken(layer) + 4 * feedForwardMultiplier * layer.dim ** 2)
}
