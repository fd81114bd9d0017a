import { BufferIndex, DispatchHeader } from '../../../assembly/ir/header.js'
import { Opcode } from '../../../assembly/ir/ops.js'
import { Activation, Norm } from '../../../assembly/ir/values.js'
import type { Geometry } from '../geometry.js'
import type { LayerScratch, LayerState } from '../memory/layer-memory.js'
import type { ProgramBuilder } from './program-builder.js'
import { activationBytes } from '../../program/activation-bytes.js'
import { at, type Operand } from '../../program/operand.js'
import type { LayerWeights, RoutingWeights } from '../memory/layer-weights.js'
import type { Weights } from '../memory/weight-plan.js'

/** A word of the dispatch header as an operand. */
export function headerWord(word: DispatchHeader): Operand {
  return at(BufferIndex.DispatchHeader, word * 4)
}

/** A range of a chunk's rows: count, and first row; default: from row 0. */
export interface RowRange {
  readonly count: DispatchHeader
  readonly first?: DispatchHeader
}

export const EVERY_ROW: RowRange = { count: DispatchHeader.Rows }
/** The rows whose outputs are requested. */
export const ANSWERED_ROWS: RowRange = { count: DispatchHeader.AnswerRows, first: DispatchHeader.AnswerFirst }

/** The operands for the number of rows and the first row. */
export function rangeWords({ count, first }: RowRange): { rows: Operand; first: Operand | undefined } {
  return { rows: headerWord(count), first: first === undefined ? undefined : headerWord(first) }
}

/** The operand moved by `words` 32-bit words. */
export function offset({ buffer, byteOffset }: Operand, words: number): Operand {
  return at(buffer, byteOffset + words * 4)
}

/** cos and sin of the angles of some rows, as written by the rotary ops. */
export interface RotaryTable {
  readonly rows: Operand
  /** Floats per row of cos. */
  readonly width: number
  /** Floats between the angles of consecutive heads; 0 if the heads share them. */
  readonly angleStride: number
}

/** One layer, the location of its data, and the program its ops are added to. */
export interface LayerContext {
  readonly builder: ProgramBuilder
  readonly geometry: Geometry
  readonly weights: LayerWeights
  readonly scratch: LayerScratch
  readonly state: LayerState
  readonly input: Operand
  /** Its rows are those of `outputRows`. */
  readonly output: Operand
  /** Rows whose outputs are computed; state is updated from all rows. */
  readonly outputRows: RowRange
  /** Whether the layer's result is added to its input (in a model). */
  readonly residual: boolean
  /** Angles of local attention for the chunk's rows. */
  readonly localTable: Operand
  /** Angles of routed queries for the chunk's rows. */
  readonly routedTable: RotaryTable | undefined
  /** Whether to copy the local output to `BufferIndex.LocalOutput`. */
  readonly trace: boolean
}

/** The same for a layer with a routed part. */
export interface RoutedContext extends LayerContext {
  readonly routing: RoutingWeights
}

export interface ProductOptions {
  readonly rows: Operand
  readonly input: Operand
  readonly weights: Weights
  readonly output: Operand
  readonly inputStride: number
  readonly depth?: number
  readonly outputStride: number
  readonly bias?: Operand
  readonly addTo?: Operand
  readonly activation?: Activation
  /** Projections side by side in the outputs, each partitioned separately; default 1. */
  readonly projections?: number
  /** Upper bound of `rows`; default: the chunk's rows. */
  readonly limit?: DispatchHeader
}

export function addProduct(builder: ProgramBuilder, options: ProductOptions): void {
  if (options.weights.scales) return addQuantizedProduct(builder, options, options.weights.scales)
  builder.op(Opcode.Matmul, {
    rows: options.rows,
    input: options.input,
    weights: options.weights,
    output: options.output,
    bias: options.bias,
    addTo: options.addTo,
    inputStride: options.inputStride,
    outputStride: options.outputStride,
    depth: options.depth ?? options.inputStride,
    panels: options.outputStride / 8,
    activation: options.activation ?? Activation.None,
    format: options.weights.format,
    projections: options.projections ?? 1,
    limit: options.limit ?? DispatchHeader.Rows,
  })
}

/** The same for int8 weights: input rows become integers first. */
function addQuantizedProduct(builder: ProgramBuilder, options: ProductOptions, weightScales: Operand): void {
  const { rows, inputStride, depth = inputStride, limit = DispatchHeader.Rows } = options
  const { values, scales, bits } = builder.activations
  const stride = activationBytes(bits, depth)
  builder.op(Opcode.QuantizeRows, { rows, input: options.input, output: values, scales, inputStride, depth, stride, bits, limit })
  builder.op(Opcode.QuantizedMatmul, {
    rows,
    input: values,
    inputScales: scales,
    weights: options.weights,
    weightScales,
    output: options.output,
    bias: options.bias,
    addTo: options.addTo,
    inputStride: stride,
    outputStride: options.outputStride,
    depth,
    panels: options.outputStride / 8,
    activation: options.activation ?? Activation.None,
    bits,
    projections: options.projections ?? 1,
    limit,
  })
}

/** Input rows of an expert's projection: gathered, and normalised if the layer has norms. */
export function addExpertNorm(
  builder: ProgramBuilder,
  { config, stride }: Geometry,
  gamma: Operand | undefined,
  rows: { count: Operand; first?: Operand; indices?: Operand; input: Operand; ring?: number; output: Operand; limit?: DispatchHeader },
): void {
  builder.op(Opcode.Normalise, {
    rows: rows.count,
    first: rows.first,
    indices: rows.indices,
    input: rows.input,
    output: rows.output,
    weight: gamma,
    kind: gamma ? Norm.RootMeanSquare : Norm.None,
    width: config.dim,
    stride,
    ring: rows.ring,
    limit: rows.limit ?? DispatchHeader.Rows,
  })
}

export function addRotation(
  builder: ProgramBuilder,
  { config, headStride }: Geometry,
  table: RotaryTable,
  rows: { count: Operand; values: Operand; stride: number; indices?: Operand | undefined; limit?: DispatchHeader },
): void {
  builder.op(Opcode.Rotate, {
    rows: rows.count,
    values: rows.values,
    table: table.rows,
    indices: rows.indices,
    stride: rows.stride,
    heads: config.heads,
    headWidth: config.dimHead,
    headStride,
    angleStride: table.angleStride,
    tableWidth: table.width,
    limit: rows.limit ?? DispatchHeader.Rows,
  })
}

/**
 * Number of groups of heads that a thread can process alone from product to attention: whole heads, and whole groups of
 * a product's panels.
 */
export function headGroups({ config, headStride, inner }: Geometry): number {
  if (headStride % 32 === 0) return config.heads
  let [a, b] = [config.heads, inner / 32]
  if (!Number.isInteger(b)) return 1
  while (b > 0) [a, b] = [b, a % b]
  return a
}

/** What local keys and values are made with. */
type LocalContext = Pick<LayerContext, 'builder' | 'geometry' | 'weights' | 'scratch' | 'state' | 'input' | 'localTable'>

/**
 * Queries, keys and values of a chunk's rows, to `scratch.projected`. The barrier after them may be skipped by ops on
 * groups of heads.
 * @param place the rows' place, if the input is a ring
 */
export function addLocalProjection(
  { builder, geometry, weights, scratch, input }: LocalContext,
  place?: { first: Operand; ring: number },
): void {
  const { config, stride, inner } = geometry
  const { localNorm } = weights
  const rows = headerWord(DispatchHeader.Rows)
  const isCopied = localNorm !== undefined || place !== undefined
  if (isCopied) {
    builder.op(Opcode.Normalise, {
      rows,
      first: place?.first,
      input,
      output: scratch.normed,
      weight: localNorm?.weight,
      bias: localNorm?.bias,
      kind: localNorm ? Norm.Layer : Norm.None,
      width: config.dim,
      stride,
      ring: place?.ring,
    })
  }
  addProduct(builder, {
    rows,
    input: isCopied ? scratch.normed : input,
    weights: weights.toQueriesKeysValues,
    output: scratch.projected,
    inputStride: stride,
    depth: config.dim,
    outputStride: 3 * inner,
    projections: 3,
  })
  builder.skipBarrier(headGroups(geometry))
}

/** Rotates the queries, and stores keys and values in the local buffer. */
export function addLocalStore({ builder, geometry, scratch, state, localTable }: LocalContext): void {
  const { config, inner, headStride, localCapacity } = geometry
  builder.op(Opcode.LocalStore, {
    projected: scratch.projected,
    table: localTable,
    keys: state.localKeys,
    values: state.localValues,
    stride: 3 * inner,
    heads: config.heads,
    headWidth: config.dimHead,
    headStride,
    capacity: localCapacity,
  })
}

/**
 * Local attention (SPEC section 2), from the layer's input to `scratch.local`, whose rows are those of `outputRows`.
 * @param addFirst adds ops to the serialized section's front
 */
export function addLocalAttention(context: LayerContext, addFirst: () => void = () => undefined): void {
  const { builder, geometry, weights, scratch, state, outputRows, trace } = context
  const { config, stride, inner, headStride, localCapacity } = geometry
  const outputs = rangeWords(outputRows)
  addLocalProjection(context)
  // drops keys that the previous chunk attends to, and attends to keys that it stores
  builder.serialized(() => {
    addFirst()
    addLocalStore(context)
    builder.skipBarrier(headGroups(geometry))
    builder.op(Opcode.Attention, {
      rows: outputs.rows,
      first: outputs.first,
      end: headerWord(DispatchHeader.LocalIndex),
      queries: scratch.projected,
      keys: state.localKeys,
      values: state.localValues,
      output: scratch.attended,
      scores: scratch.localScores,
      queryStride: 3 * inner,
      outputStride: inner,
      heads: config.heads,
      headWidth: config.dimHead,
      headStride,
      capacity: localCapacity,
      window: config.localAttnWindowSize + 1,
      advance: 1,
      scoreStride: geometry.localScoreStride,
      scale: 1 / Math.sqrt(config.dimHead),
    })
  })
  addProduct(builder, {
    rows: outputs.rows,
    limit: outputRows.count,
    input: scratch.attended,
    weights: weights.toOutputs,
    output: scratch.local,
    inputStride: inner,
    outputStride: stride,
  })
  if (trace) {
    builder.op(Opcode.CopyRows, {
      rows: outputs.rows,
      input: scratch.local,
      output: at(BufferIndex.LocalOutput),
      stride,
    })
  }
}

/**
 * Router scores of the chunk's rows for every expert (SPEC section 4), written from index `first` on; raw products are
 * kept in `products`.
 */
export function addRouterScores(
  context: Pick<RoutedContext, 'builder' | 'geometry' | 'routing' | 'input'>,
  target: { products: Operand; queries: Operand; keyValues: Operand; capacity: number; first: Operand },
): void {
  const { builder, geometry, routing, input } = context
  const { config, stride, productStride } = geometry
  const rows = headerWord(DispatchHeader.Rows)
  addProduct(builder, {
    rows,
    input,
    weights: routing.routingTokens,
    output: target.products,
    inputStride: stride,
    depth: config.dim,
    outputStride: productStride,
  })
  builder.op(Opcode.RouterScores, {
    rows,
    first: target.first,
    input,
    products: target.products,
    queries: target.queries,
    keyValues: target.keyValues,
    stride,
    width: config.dim,
    productStride,
    experts: config.numExperts,
    capacity: target.capacity,
    cosine: config.cosineSimRouting,
    scale: config.cosineSimScale,
  })
}

/**
 * A chunk of several windows: the number of key/values of each, and where each one's rows start in an expert's list.
 */
export interface WindowedQueries {
  readonly ends: Operand
  readonly starts: (expert: number) => Operand
  /** Maximum rows of a window. */
  readonly rows: number
}

/**
 * Routed attention of the queries listed in `scratch`, expert by expert (SPEC section 5), to `scratch.expertOutputs`.
 */
export function addExperts(context: RoutedContext, windows?: WindowedQueries): void {
  const { builder, geometry, routing, scratch, state, input, outputRows, routedTable } = context
  const { config, chunkRows, stride, inner, headStride, contextCapacity } = geometry
  const limit = outputRows.count
  routing.experts.forEach((expert, index) => {
    // rows are gathered in parallel with the outputs of the previous expert
    if (index > 0) builder.skipBarrier()
    const count = offset(scratch.queryCounts, index)
    const indices = offset(scratch.queryLists, index * chunkRows)
    addExpertNorm(builder, geometry, expert.queryNorm, { count, indices, input, output: scratch.normed, limit })
    addProduct(builder, {
      rows: count,
      limit,
      input: scratch.normed,
      weights: expert.toQueries,
      output: scratch.queries,
      inputStride: stride,
      depth: config.dim,
      outputStride: inner,
    })
    builder.skipBarrier(headGroups(geometry))
    if (routedTable) {
      addRotation(builder, geometry, routedTable, { count, values: scratch.queries, stride: inner, indices, limit })
      builder.skipBarrier(headGroups(geometry))
    }
    builder.op(Opcode.Attention, {
      end: windows ? windows.ends : headerWord(DispatchHeader.ContextCount),
      starts: windows?.starts(index),
      contextStride: geometry.contextWords,
      contextRows: windows?.rows,
      rows: count,
      queries: scratch.queries,
      keys: state.contexts[index]!.keys,
      values: state.contexts[index]!.values,
      output: scratch.attended,
      scores: scratch.routedScores,
      queryStride: inner,
      outputStride: inner,
      window: contextCapacity,
      advance: 0,
      heads: config.heads,
      headWidth: config.dimHead,
      headStride,
      capacity: contextCapacity,
      scoreStride: geometry.contextScoreStride,
      scale: 1 / Math.sqrt(config.dimHead),
    })
    addProduct(builder, {
      rows: count,
      limit,
      input: scratch.attended,
      weights: expert.toOutputs,
      output: offset(scratch.expertOutputs, index * chunkRows * stride),
      inputStride: inner,
      outputStride: stride,
    })
  })
}

/**
 * The layer's result (SPEC section 6); without a routed part, its local output.
 * @param scored whether experts' outputs are multiplied by scores
 */
export function addCombination(context: LayerContext, scored = false): void {
  const { builder, geometry, weights, scratch, input, output, outputRows, residual } = context
  const { rows, first } = rangeWords(outputRows)
  builder.op(Opcode.Combine, {
    rows,
    first,
    local: scratch.local,
    routed: scratch.expertOutputs,
    slots: scratch.querySlots,
    listScores: scored ? scratch.queryScores : undefined,
    nullTokens: weights.routing?.nullTokens,
    residual: residual ? input : undefined,
    output,
    stride: geometry.stride,
    experts: weights.routing?.experts.length ?? 0,
    rowCapacity: geometry.chunkRows,
  })
}
