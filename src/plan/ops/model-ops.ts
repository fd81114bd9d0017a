import type { ModelConfig } from '../config.js'
import { BufferIndex, DispatchHeader } from '../../../assembly/ir/header.js'
import { Opcode } from '../../../assembly/ir/ops.js'
import { Activation, Norm } from '../../../assembly/ir/values.js'
import type { Program } from '../../device/device.js'
import type { Geometry } from '../geometry.js'
import type { LayerContext } from './layer-context.js'
import { REQUESTED_ROWS, EVERY_ROW, headerWord } from './operands.js'
import { addProduct } from './product-ops.js'
import type { Activations } from '../memory/activations.js'
import { type Layout, roundUp } from '../memory/layout.js'
import type { FeedForwardWeights, ModelWeights } from '../memory/model-weights.js'
import { ProgramBuilder } from './program-builder.js'
import { at, type Operand } from '../../program/operand.js'

/**
 * Working memory outside the layers, in `BufferIndex.Scratch`. A chunk's tokens are at `BufferIndex.TokenIds`, its rows
 * at `BufferIndex.Input`.
 */
export interface ModelScratch {
  readonly hidden: Operand
  /** Outputs of the last layer: `REQUESTED_ROWS`. */
  readonly lastOutput: Operand
  readonly headInput: Operand
  readonly logits: Operand
  /** Maximum rows of logits. */
  readonly headRows: number
  readonly targets: Operand
  readonly logProbabilities: Operand
}

/** Approximate maximum size of the logits of one dispatch, unless a single row needs more. */
const LOGITS_BYTES = 4 << 20

export function planModelScratch(layout: Layout, config: ModelConfig, { chunkRows, stride }: Geometry): ModelScratch {
  const rowWords = roundUp(config.numTokens)
  const headRows = Math.max(1, Math.min(chunkRows, Math.floor(LOGITS_BYTES / (rowWords * 4))))
  const words = (count: number) => at(BufferIndex.Scratch, layout.words(count))
  return {
    hidden: words(chunkRows * roundUp(config.layer.dim * config.feedForwardMultiplier)),
    lastOutput: words(chunkRows * stride),
    headInput: words(headRows * stride),
    logits: words(headRows * rowWords),
    headRows,
    targets: words(headRows),
    logProbabilities: words(headRows * 2),
  }
}

/** What a model's ops need to know. */
export interface ModelContext {
  readonly config: ModelConfig
  readonly geometry: Geometry
  readonly parameters: ModelWeights
  readonly scratch: ModelScratch
  /** Absent where no weights are int8. */
  readonly activations: Activations | undefined
  /** The layers' row for normalised inputs, and for the outputs of products that are added to the stream. */
  readonly normed: Operand
  readonly sum: Operand
}

/** A chunk's rows, to which every layer but the last adds. */
export const stream = at(BufferIndex.Input)

/** Destination of a layer's outputs, and their rows. */
export type LayerOutput = Pick<LayerContext, 'output' | 'outputRows'>

/** For the last layer, only the rows that the head will read, contiguously. */
export function layerOutput({ scratch }: ModelContext, isLast: boolean): LayerOutput {
  return isLast ? { output: scratch.lastOutput, outputRows: REQUESTED_ROWS } : { output: stream, outputRows: EVERY_ROW }
}

export function addEmbedding(builder: ProgramBuilder, { parameters, geometry }: ModelContext): void {
  builder.op(Opcode.Embed, {
    rows: headerWord(DispatchHeader.Rows),
    tokenIds: at(BufferIndex.TokenIds),
    tokens: parameters.tokens,
    tokenScales: parameters.tokens.scales,
    positions: parameters.positions,
    output: stream,
    stride: geometry.stride,
    tokensFormat: parameters.tokens.format,
    positionsFormat: parameters.positions?.format,
  })
}

/** The feed-forward after a layer, added to its outputs. */
export function addFeedForward(
  builder: ProgramBuilder,
  { config, geometry, scratch, normed, sum }: ModelContext,
  weights: FeedForwardWeights,
  { output, outputRows }: LayerOutput,
): void {
  const { dim } = config.layer
  const limit = outputRows.count
  const rows = headerWord(limit)
  const hiddenStride = roundUp(dim * config.feedForwardMultiplier)
  // A layer ends with sums over its rows, of which each partition continues with its own
  builder.skipBarrier()
  builder.op(Opcode.Normalise, {
    rows,
    input: output,
    output: normed,
    weight: weights.norm,
    kind: Norm.RootMeanSquare,
    width: dim,
    stride: geometry.stride,
    limit,
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
    depth: dim * config.feedForwardMultiplier,
    outputStride: geometry.stride,
    bias: weights.downBias,
    addTo: output,
  })
}

/** Logits of the rows requested by the dispatch header, and the probabilities of their targets. */
export function addHead(builder: ProgramBuilder, { config, geometry, parameters, scratch }: ModelContext): void {
  const rows = headerWord(DispatchHeader.HeadRows)
  const logitStride = roundUp(config.numTokens)
  builder.op(Opcode.Normalise, {
    rows,
    first: headerWord(DispatchHeader.HeadFirst),
    input: scratch.lastOutput,
    output: scratch.headInput,
    weight: parameters.norm,
    kind: Norm.RootMeanSquare,
    width: config.layer.dim,
    stride: geometry.stride,
    limit: DispatchHeader.HeadRows,
  })
  addProduct(builder, {
    rows,
    limit: DispatchHeader.HeadRows,
    input: scratch.headInput,
    weights: parameters.head,
    output: scratch.logits,
    inputStride: geometry.stride,
    depth: config.layer.dim,
    outputStride: logitStride,
    bias: parameters.headBias,
  })
  addLogProbabilities(builder, config, scratch)
}

function addLogProbabilities(builder: ProgramBuilder, config: ModelConfig, scratch: ModelScratch): void {
  builder.op(Opcode.LogProbabilities, {
    rows: headerWord(DispatchHeader.TargetRows),
    logits: scratch.logits,
    targets: scratch.targets,
    output: scratch.logProbabilities,
    stride: roundUp(config.numTokens),
    width: config.numTokens,
  })
}

/** Only the head, for rows that did not fit in the chunk's dispatch. */
export function writeHead(context: ModelContext): Program {
  const builder = new ProgramBuilder(context.activations)
  addHead(builder, context)
  return builder.finish()
}

/** Probabilities of targets under existing logits. */
export function writeLogProbabilities({ config, scratch }: ModelContext): Program {
  const builder = new ProgramBuilder()
  addLogProbabilities(builder, config, scratch)
  return builder.finish()
}
