import {
  Activation,
  Attention,
  Buffer,
  Combine,
  CopyRows,
  LocalStore,
  Norm,
  Normalise,
  Opcode,
  Piece,
  Product,
  Rotate,
  Similarities,
} from '../../assembly/steps.js'
import type { Geometry } from './geometry.js'
import type { LayerScratch, LayerState } from './layer-memory.js'
import { at, type Operand, type ProgramBuilder } from './program-builder.js'
import type { LayerWeights, Weights } from './weights.js'

/** A word of the piece header as an operand. */
export function pieceWord(word: Piece): Operand {
  return at(Buffer.Piece, word * 4)
}

/** Some rows of a piece: how many, and from which on; default: from its first. */
export interface RowRange {
  readonly count: Piece
  readonly first?: Piece
}

export const EVERY_ROW: RowRange = { count: Piece.Rows }
/** Those whose output anyone asks for. */
export const ANSWERED_ROWS: RowRange = { count: Piece.AnswerRows, first: Piece.AnswerFirst }

/** The operand that tells how many rows, and the one that tells the first. */
export function rangeWords({ count, first }: RowRange): { rows: Operand; first: Operand | undefined } {
  return { rows: pieceWord(count), first: first === undefined ? undefined : pieceWord(first) }
}

/** The operand `words` 32-bit words further. */
export function offset({ buffer, byteOffset }: Operand, words: number): Operand {
  return at(buffer, byteOffset + words * 4)
}

/** cos and sin of the angles of some rows, as the rotary steps write them. */
export interface RotaryTable {
  readonly rows: Operand
  /** Floats in one row of cos. */
  readonly width: number
  /** Floats from one head's angles to the next one's; 0 when the heads share them. */
  readonly angleStride: number
}

/** One layer, where its data lies, and the program that its steps go to. */
export interface LayerContext {
  readonly builder: ProgramBuilder
  readonly geometry: Geometry
  readonly weights: LayerWeights
  readonly scratch: LayerScratch
  readonly state: LayerState
  readonly input: Operand
  /** Its rows are those of `outputRows`. */
  readonly output: Operand
  /** Rows whose outputs are computed; what the layer remembers it takes of all. */
  readonly outputRows: RowRange
  /** Whether the layer's result is added to its input (in a model). */
  readonly residual: boolean
  /** Angles of local attention for the piece's rows. */
  readonly localTable: Operand
  /** Angles of routed queries for the piece's rows. */
  readonly routedTable: RotaryTable | undefined
  /** Whether a copy of the local output is wanted, in `Buffer.LocalOutput`. */
  readonly trace: boolean
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
  /** Parts of the output that are shared out each on its own; default 1. */
  readonly parts?: number
  /** What `rows` does not exceed; default: the piece's rows. */
  readonly limit?: Piece
}

export function addProduct(builder: ProgramBuilder, options: ProductOptions): void {
  builder.step(Opcode.Product, Product.Length, {
    [Product.Rows]: options.rows,
    [Product.Input]: options.input,
    [Product.Weights]: options.weights,
    [Product.Output]: options.output,
    [Product.Bias]: options.bias,
    [Product.AddTo]: options.addTo,
    [Product.InputStride]: options.inputStride,
    [Product.OutputStride]: options.outputStride,
    [Product.Depth]: options.depth ?? options.inputStride,
    [Product.Panels]: options.outputStride / 8,
    [Product.Activation]: options.activation ?? Activation.None,
    [Product.Format]: options.weights.format,
    [Product.Parts]: options.parts ?? 1,
    [Product.Limit]: options.limit ?? Piece.Rows,
  })
}

/** Rows for an expert's projection: gathered, and normalised where the layer has norms. */
export function addExpertNorm(
  builder: ProgramBuilder,
  { numbers, stride }: Geometry,
  gamma: Operand | undefined,
  rows: { count: Operand; indices: Operand; input: Operand; output: Operand; limit?: Piece },
): void {
  builder.step(Opcode.Normalise, Normalise.Length, {
    [Normalise.Rows]: rows.count,
    [Normalise.Indices]: rows.indices,
    [Normalise.Input]: rows.input,
    [Normalise.Output]: rows.output,
    [Normalise.Weight]: gamma,
    [Normalise.Kind]: gamma ? Norm.RootMeanSquare : Norm.None,
    [Normalise.Width]: numbers.dim,
    [Normalise.Stride]: stride,
    [Normalise.Limit]: rows.limit ?? Piece.Rows,
  })
}

export function addRotation(
  builder: ProgramBuilder,
  { numbers, headStride }: Geometry,
  table: RotaryTable,
  rows: { count: Operand; values: Operand; stride: number; indices?: Operand; limit?: Piece },
): void {
  builder.step(Opcode.Rotate, Rotate.Length, {
    [Rotate.Rows]: rows.count,
    [Rotate.Values]: rows.values,
    [Rotate.Table]: table.rows,
    [Rotate.Indices]: rows.indices,
    [Rotate.Stride]: rows.stride,
    [Rotate.Heads]: numbers.heads,
    [Rotate.HeadWidth]: numbers.dimHead,
    [Rotate.HeadStride]: headStride,
    [Rotate.AngleStride]: table.angleStride,
    [Rotate.TableWidth]: table.width,
    [Rotate.Limit]: rows.limit ?? Piece.Rows,
  })
}

/** Parts of a row of heads that threads may take alone from its product to its attention: heads whole, and whole groups of a product's panels. */
export function headParts({ numbers, headStride, inner }: Geometry): number {
  if (headStride % 32 === 0) return numbers.heads
  let [a, b] = [numbers.heads, inner / 32]
  if (!Number.isInteger(b)) return 1
  while (b > 0) [a, b] = [b, a % b]
  return a
}

/** Local attention (SPEC section 2), from the layer's input to `scratch.local`, whose rows are those of `outputRows`. */
export function addLocalAttention(context: LayerContext): void {
  const { builder, geometry, weights, scratch, state, input, outputRows, localTable, trace } = context
  const { numbers, stride, inner, headStride, localCapacity } = geometry
  const rows = pieceWord(Piece.Rows)
  const outputs = rangeWords(outputRows)
  if (weights.localNorm) {
    builder.step(Opcode.Normalise, Normalise.Length, {
      [Normalise.Rows]: rows,
      [Normalise.Input]: input,
      [Normalise.Output]: scratch.normed,
      [Normalise.Weight]: weights.localNorm.weight,
      [Normalise.Bias]: weights.localNorm.bias,
      [Normalise.Kind]: Norm.Layer,
      [Normalise.Width]: numbers.dim,
      [Normalise.Stride]: stride,
    })
  }
  addProduct(builder, {
    rows,
    input: weights.localNorm ? scratch.normed : input,
    weights: weights.toQueriesKeysValues,
    output: scratch.projected,
    inputStride: stride,
    depth: numbers.dim,
    outputStride: 3 * inner,
    parts: 3,
  })
  builder.join(headParts(geometry))
  // keys that the piece before attends to are dropped, and those that it stores attended to
  builder.ordered(() => {
    builder.step(Opcode.LocalStore, LocalStore.Length, {
      [LocalStore.Projected]: scratch.projected,
      [LocalStore.Table]: localTable,
      [LocalStore.Keys]: state.localKeys,
      [LocalStore.Values]: state.localValues,
      [LocalStore.Stride]: 3 * inner,
      [LocalStore.Heads]: numbers.heads,
      [LocalStore.HeadWidth]: numbers.dimHead,
      [LocalStore.HeadStride]: headStride,
      [LocalStore.Capacity]: localCapacity,
    })
    builder.join(headParts(geometry))
    builder.step(Opcode.Attention, Attention.Length, {
      [Attention.Rows]: outputs.rows,
      [Attention.First]: outputs.first,
      [Attention.End]: pieceWord(Piece.LocalIndex),
      [Attention.Queries]: scratch.projected,
      [Attention.Keys]: state.localKeys,
      [Attention.Values]: state.localValues,
      [Attention.Output]: scratch.attended,
      [Attention.Scores]: scratch.localScores,
      [Attention.QueryStride]: 3 * inner,
      [Attention.OutputStride]: inner,
      [Attention.Heads]: numbers.heads,
      [Attention.HeadWidth]: numbers.dimHead,
      [Attention.HeadStride]: headStride,
      [Attention.Capacity]: localCapacity,
      [Attention.Window]: numbers.localAttnWindowSize + 1,
      [Attention.Advance]: 1,
      [Attention.ScoreStride]: geometry.localScoreStride,
      [Attention.Scale]: { float: 1 / Math.sqrt(numbers.dimHead) },
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
    builder.step(Opcode.CopyRows, CopyRows.Length, {
      [CopyRows.Rows]: outputs.rows,
      [CopyRows.Input]: scratch.local,
      [CopyRows.Output]: at(Buffer.LocalOutput),
      [CopyRows.Stride]: stride,
    })
  }
}

/** Similarities of the piece's rows to every expert's routing tokens (SPEC section 4), written from index `first` on; the raw ones pass through `products`. */
export function addSimilarities(
  context: Pick<LayerContext, 'builder' | 'geometry' | 'weights' | 'input'>,
  target: { products: Operand; queries: Operand; keyValues: Operand; capacity: number; first: Operand },
): void {
  const { builder, geometry, weights, input } = context
  const { numbers, stride, productStride } = geometry
  const rows = pieceWord(Piece.Rows)
  addProduct(builder, {
    rows,
    input,
    weights: weights.routingTokens,
    output: target.products,
    inputStride: stride,
    depth: numbers.dim,
    outputStride: productStride,
  })
  builder.step(Opcode.Similarities, Similarities.Length, {
    [Similarities.Rows]: rows,
    [Similarities.First]: target.first,
    [Similarities.Input]: input,
    [Similarities.Products]: target.products,
    [Similarities.Queries]: target.queries,
    [Similarities.KeyValues]: target.keyValues,
    [Similarities.Stride]: stride,
    [Similarities.Width]: numbers.dim,
    [Similarities.ProductStride]: productStride,
    [Similarities.Experts]: numbers.numExperts,
    [Similarities.Capacity]: target.capacity,
    [Similarities.Cosine]: numbers.cosineSimRouting,
    [Similarities.Scale]: { float: numbers.cosineSimScale },
  })
}

/** A piece of several windows: the key/values of each, and where each one's rows begin in an expert's list. */
export interface QueryGroups {
  readonly ends: Operand
  readonly starts: (expert: number) => Operand
  /** Most rows of a window's. */
  readonly rows: number
}

/** Routed attention of the queries that `scratch` lists, expert by expert (SPEC section 5), to `scratch.expertOutputs`. */
export function addExperts(context: LayerContext, groups?: QueryGroups): void {
  const { builder, geometry, weights, scratch, state, input, outputRows, routedTable } = context
  const { numbers, pieceRows, stride, inner, headStride, contextCapacity } = geometry
  const limit = outputRows.count
  weights.experts.forEach((expert, index) => {
    // rows are gathered beside the outputs of the expert before
    if (index > 0) builder.join()
    const count = offset(scratch.queryCounts, index)
    const indices = offset(scratch.queryLists, index * pieceRows)
    addExpertNorm(builder, geometry, expert.queryNorm, { count, indices, input, output: scratch.normed, limit })
    addProduct(builder, {
      rows: count,
      limit,
      input: scratch.normed,
      weights: expert.toQueries,
      output: scratch.queries,
      inputStride: stride,
      depth: numbers.dim,
      outputStride: inner,
    })
    builder.join(headParts(geometry))
    if (routedTable) {
      addRotation(builder, geometry, routedTable, { count, values: scratch.queries, stride: inner, indices, limit })
      builder.join(headParts(geometry))
    }
    builder.step(Opcode.Attention, Attention.Length, {
      [Attention.End]: groups ? groups.ends : pieceWord(Piece.ContextCount),
      [Attention.Starts]: groups?.starts(index),
      [Attention.GroupStride]: geometry.contextWords,
      [Attention.GroupRows]: groups?.rows,
      [Attention.Rows]: count,
      [Attention.Queries]: scratch.queries,
      [Attention.Keys]: state.contexts[index]!.keys,
      [Attention.Values]: state.contexts[index]!.values,
      [Attention.Output]: scratch.attended,
      [Attention.Scores]: scratch.routedScores,
      [Attention.QueryStride]: inner,
      [Attention.OutputStride]: inner,
      [Attention.Window]: contextCapacity,
      [Attention.Heads]: numbers.heads,
      [Attention.HeadWidth]: numbers.dimHead,
      [Attention.HeadStride]: headStride,
      [Attention.Capacity]: contextCapacity,
      [Attention.ScoreStride]: geometry.contextScoreStride,
      [Attention.Scale]: { float: 1 / Math.sqrt(numbers.dimHead) },
    })
    addProduct(builder, {
      rows: count,
      limit,
      input: scratch.attended,
      weights: expert.toOutputs,
      output: offset(scratch.expertOutputs, index * pieceRows * stride),
      inputStride: inner,
      outputStride: stride,
    })
  })
}

/** The layer's result (SPEC section 6). */
export function addCombination(context: LayerContext, scored: boolean): void {
  const { builder, geometry, weights, scratch, input, output, outputRows, residual } = context
  const { rows, first } = rangeWords(outputRows)
  builder.step(Opcode.Combine, Combine.Length, {
    [Combine.Rows]: rows,
    [Combine.First]: first,
    [Combine.Local]: scratch.local,
    [Combine.Routed]: scratch.expertOutputs,
    [Combine.Slots]: scratch.querySlots,
    [Combine.ListScores]: scored ? scratch.queryScores : undefined,
    [Combine.NullTokens]: weights.nullTokens,
    [Combine.Residual]: residual ? input : undefined,
    [Combine.Output]: output,
    [Combine.Stride]: geometry.stride,
    [Combine.Experts]: geometry.numbers.numExperts,
    [Combine.RowCapacity]: geometry.pieceRows,
  })
}
