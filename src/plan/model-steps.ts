import { Activation, Buffer, Embed, LogProbabilities, Norm, Normalise, Opcode, Piece } from '../../assembly/steps.js'
import type { Program } from '../device/device.js'
import type { Geometry } from './geometry.js'
import { addProduct, ANSWERED_ROWS, EVERY_ROW, type LayerContext, pieceWord } from './layer-steps.js'
import { type Layout, roundUp } from './layout.js'
import type { FeedForwardWeights, ModelNumbers, ModelParameters } from './model-parameters.js'
import { at, type Operand, ProgramBuilder } from './program-builder.js'

/** Working memory around the layers, in `Buffer.Scratch`. A piece's tokens are at `Buffer.TokenIds`, its rows at `Buffer.Input`. */
export interface ModelScratch {
  readonly hidden: Operand
  /** Rows of the last layer: `ANSWERED_ROWS`. */
  readonly answers: Operand
  readonly headInput: Operand
  readonly logits: Operand
  /** Rows of logits that fit. */
  readonly headRows: number
  readonly targets: Operand
  readonly logProbabilities: Operand
}

/** Logits of one run take at most about this much, unless one row is more. */
const LOGITS_BYTES = 4 << 20

export function planModelScratch(layout: Layout, numbers: ModelNumbers, { pieceRows, stride }: Geometry): ModelScratch {
  const rowWords = roundUp(numbers.numTokens)
  const headRows = Math.max(1, Math.min(pieceRows, Math.floor(LOGITS_BYTES / (rowWords * 4))))
  const words = (count: number) => at(Buffer.Scratch, layout.words(count))
  return {
    hidden: words(pieceRows * roundUp(numbers.layer.dim * numbers.feedForwardMultiplier)),
    answers: words(pieceRows * stride),
    headInput: words(headRows * stride),
    logits: words(headRows * rowWords),
    headRows,
    targets: words(headRows),
    logProbabilities: words(headRows * 2),
  }
}

/** What a step of a model needs to know. */
export interface ModelContext {
  readonly numbers: ModelNumbers
  readonly geometry: Geometry
  readonly parameters: ModelParameters
  readonly scratch: ModelScratch
  /** The layers' row for what is normalised, and for the outputs of products that are added to the stream. */
  readonly normed: Operand
  readonly sum: Operand
}

/** A piece's rows, which every layer but the last adds to. */
export const stream = at(Buffer.Input)

/** Where a layer's outputs go, and of which rows. */
export type LayerOutput = Pick<LayerContext, 'output' | 'outputRows'>

/** Of the last layer only those rows that the head will read, behind each other. */
export function layerOutput({ scratch }: ModelContext, isLast: boolean): LayerOutput {
  return isLast ? { output: scratch.answers, outputRows: ANSWERED_ROWS } : { output: stream, outputRows: EVERY_ROW }
}

export function addEmbedding(builder: ProgramBuilder, { parameters, geometry }: ModelContext): void {
  builder.step(Opcode.Embed, Embed.Length, {
    [Embed.Rows]: pieceWord(Piece.Rows),
    [Embed.TokenIds]: at(Buffer.TokenIds),
    [Embed.Tokens]: parameters.tokens,
    [Embed.Positions]: parameters.positions,
    [Embed.Output]: stream,
    [Embed.Stride]: geometry.stride,
    [Embed.TokensFormat]: parameters.tokens.format,
    [Embed.PositionsFormat]: parameters.positions?.format,
  })
}

/** What follows a layer, added to its outputs. */
export function addFeedForward(
  builder: ProgramBuilder,
  { numbers, geometry, scratch, normed, sum }: ModelContext,
  weights: FeedForwardWeights,
  { output, outputRows }: LayerOutput,
): void {
  const { dim } = numbers.layer
  const limit = outputRows.count
  const rows = pieceWord(limit)
  const hiddenStride = roundUp(dim * numbers.feedForwardMultiplier)
  // a layer ends with the sums of its rows, of which each share takes its own, or with contexts
  builder.join()
  builder.step(Opcode.Normalise, Normalise.Length, {
    [Normalise.Rows]: rows,
    [Normalise.Input]: output,
    [Normalise.Output]: normed,
    [Normalise.Weight]: weights.norm,
    [Normalise.Kind]: Norm.RootMeanSquare,
    [Normalise.Width]: dim,
    [Normalise.Stride]: geometry.stride,
    [Normalise.Limit]: limit,
  })
  addProduct(builder, {
    rows,
    limit,
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
    limit,
    input: scratch.hidden,
    weights: weights.down,
    output: sum,
    inputStride: hiddenStride,
    depth: dim * numbers.feedForwardMultiplier,
    outputStride: geometry.stride,
    bias: weights.downBias,
    addTo: output,
  })
}

/** Logits of the rows that the piece header asks for, and the probabilities of their targets. */
export function addHead(builder: ProgramBuilder, { numbers, geometry, parameters, scratch }: ModelContext): void {
  const rows = pieceWord(Piece.HeadRows)
  const logitStride = roundUp(numbers.numTokens)
  builder.step(Opcode.Normalise, Normalise.Length, {
    [Normalise.Rows]: rows,
    [Normalise.First]: pieceWord(Piece.HeadFirst),
    [Normalise.Input]: scratch.answers,
    [Normalise.Output]: scratch.headInput,
    [Normalise.Weight]: parameters.norm,
    [Normalise.Kind]: Norm.RootMeanSquare,
    [Normalise.Width]: numbers.layer.dim,
    [Normalise.Stride]: geometry.stride,
    [Normalise.Limit]: Piece.HeadRows,
  })
  addProduct(builder, {
    rows,
    limit: Piece.HeadRows,
    input: scratch.headInput,
    weights: parameters.head,
    output: scratch.logits,
    inputStride: geometry.stride,
    depth: numbers.layer.dim,
    outputStride: logitStride,
    bias: parameters.headBias,
  })
  addLogProbabilities(builder, numbers, scratch)
}

function addLogProbabilities(builder: ProgramBuilder, numbers: ModelNumbers, scratch: ModelScratch): void {
  builder.step(Opcode.LogProbabilities, LogProbabilities.Length, {
    [LogProbabilities.Rows]: pieceWord(Piece.TargetRows),
    [LogProbabilities.Logits]: scratch.logits,
    [LogProbabilities.Targets]: scratch.targets,
    [LogProbabilities.Output]: scratch.logProbabilities,
    [LogProbabilities.Stride]: roundUp(numbers.numTokens),
    [LogProbabilities.Width]: numbers.numTokens,
  })
}

/** The head alone, for rows that did not fit into the piece's run. */
export function writeHead(context: ModelContext): Program {
  const builder = new ProgramBuilder()
  addHead(builder, context)
  return builder.finish()
}

/** Probabilities of targets under logits that are there already. */
export function writeLogProbabilities({ numbers, scratch }: ModelContext): Program {
  const builder = new ProgramBuilder()
  addLogProbabilities(builder, numbers, scratch)
  return builder.finish()
}
