import { CopyRows, Opcode, NullContext, Piece, RouteCausal, SelectContext, UpdateContext } from '../../assembly/steps.js'
import type { CausalState, ClosingScratch } from './layer-memory.js'
import {
  addCombination,
  addExpertNorm,
  addExperts,
  addLocalAttention,
  addProduct,
  addRotation,
  addSimilarities,
  headParts,
  type LayerContext,
  offset,
  pieceWord,
  rangeWords,
  type RotaryTable,
} from './layer-steps.js'
import type { Geometry } from './geometry.js'
import type { ProgramBuilder } from './program-builder.js'
import type { LayerWeights } from './weights.js'

/** A strictly causal layer besides. */
export interface CausalContext extends LayerContext {
  readonly state: CausalState
  readonly closing: ClosingScratch
  /** Angles of the whole window's rows, for the keys that enter when it closes. */
  readonly windowTable: RotaryTable | undefined
}

/** One piece of a strictly causal layer; a piece lies within one window. */
export function addCausalLayer(context: CausalContext): void {
  const { builder } = context
  addLocalAttention(context)
  if (!context.trace) builder.join()
  // the open window and the contexts: what the piece before adds is read, and what it reads replaced
  builder.ordered(() => addRouting(context))
}

function addRouting(context: CausalContext): void {
  const { builder, geometry, scratch, state, input } = context
  const { numbers, pieceRows, stride, windowCapacity } = geometry
  const { rows, first } = rangeWords(context.outputRows)
  addSimilarities(context, {
    products: scratch.similarityProducts,
    queries: state.openQuerySimilarities,
    keyValues: state.openKeyValueSimilarities,
    capacity: windowCapacity,
    first: pieceWord(Piece.WindowOffset),
  })
  builder.join()
  builder.step(Opcode.CopyRows, CopyRows.Length, {
    [CopyRows.Rows]: pieceWord(Piece.Rows),
    [CopyRows.First]: pieceWord(Piece.WindowOffset),
    [CopyRows.Input]: input,
    [CopyRows.Output]: state.openInputs,
    [CopyRows.Stride]: stride,
  })
  builder.step(Opcode.RouteCausal, RouteCausal.Length, {
    [RouteCausal.Rows]: rows,
    [RouteCausal.First]: first,
    [RouteCausal.Similarities]: state.openQuerySimilarities,
    [RouteCausal.Lists]: scratch.queryLists,
    [RouteCausal.Slots]: scratch.querySlots,
    [RouteCausal.Counts]: scratch.queryCounts,
    [RouteCausal.Experts]: numbers.numExperts,
    [RouteCausal.Count]: numbers.numRoutedQueries,
    [RouteCausal.Capacity]: windowCapacity,
    [RouteCausal.RowCapacity]: pieceRows,
  })
  addExperts(context)
  addCombination(context, false)
  builder.join()
  addClosing(context)
}

/** When the piece ends its window: the window's tokens compete for the contexts' places, and only those that enter are projected. */
function addClosing({ builder, geometry, weights, state, closing, windowTable }: CausalContext): void {
  const { numbers, stride, inner, headStride, contextCapacity, windowCapacity } = geometry
  builder.step(Opcode.SelectContext, SelectContext.Length, {
    [SelectContext.Similarities]: state.openKeyValueSimilarities,
    [SelectContext.ContextSimilarities]: state.contextSimilarities,
    [SelectContext.ContextPositions]: state.contextPositions,
    [SelectContext.Kept]: closing.kept,
    [SelectContext.KeptCounts]: closing.keptCounts,
    [SelectContext.Newcomers]: closing.newcomers,
    [SelectContext.NewcomerCounts]: closing.newcomerCounts,
    [SelectContext.Candidates]: closing.candidates,
    [SelectContext.Experts]: numbers.numExperts,
    [SelectContext.Count]: numbers.numRoutedKeyValues,
    [SelectContext.ContextCapacity]: contextCapacity,
    [SelectContext.Window]: windowCapacity,
    [SelectContext.WorkBytes]: closing.candidateBytes,
  })
  weights.experts.forEach((expert, index) => {
    const count = offset(closing.newcomerCounts, index)
    const indices = offset(closing.newcomers, index * windowCapacity)
    const limit = Piece.ClosingRows
    addExpertNorm(builder, geometry, expert.contextNorm, { count, indices, input: state.openInputs, output: closing.normed, limit })
    addProduct(builder, {
      rows: count,
      input: closing.normed,
      weights: expert.toKeyValues,
      output: closing.projected,
      inputStride: stride,
      depth: numbers.dim,
      outputStride: 2 * inner,
      parts: 2,
      limit,
    })
    builder.join(headParts(geometry))
    if (windowTable) {
      addRotation(builder, geometry, windowTable, { count, values: closing.projected, stride: 2 * inner, indices, limit })
      builder.join(headParts(geometry))
    }
    builder.step(Opcode.UpdateContext, UpdateContext.Length, {
      [UpdateContext.Kept]: offset(closing.kept, index * contextCapacity),
      [UpdateContext.KeptCount]: offset(closing.keptCounts, index),
      [UpdateContext.NewcomerCount]: count,
      [UpdateContext.Projected]: closing.projected,
      [UpdateContext.Keys]: state.contexts[index]!.keys,
      [UpdateContext.Values]: state.contexts[index]!.values,
      [UpdateContext.Heads]: numbers.heads,
      [UpdateContext.HeadStride]: headStride,
      [UpdateContext.Capacity]: contextCapacity,
    })
  })
}

/** What a new sequence begins with: the null key/value at rank 0 of every expert's context. */
export function addOpening(builder: ProgramBuilder, geometry: Geometry, weights: LayerWeights, state: CausalState): void {
  weights.experts.forEach((expert, index) => {
    builder.step(Opcode.NullContext, NullContext.Length, {
      [NullContext.Null]: expert.nullPair,
      [NullContext.Keys]: state.contexts[index]!.keys,
      [NullContext.Values]: state.contexts[index]!.values,
      [NullContext.Heads]: geometry.numbers.heads,
      [NullContext.HeadStride]: geometry.headStride,
      [NullContext.Capacity]: geometry.contextCapacity,
    })
  })
}
