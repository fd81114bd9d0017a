import { CopyRows, Opcode, NullContext, DispatchHeader, RouteCausal, SelectContext, UpdateContext } from '../../../assembly/ops.js'
import type { CausalState, ContextUpdateScratch, RoutingState } from '../memory/layer-memory.js'
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
  headerWord,
  rangeWords,
  type RotaryTable,
} from './layer-ops.js'
import type { Geometry } from '../geometry.js'
import type { ProgramBuilder } from './program-builder.js'
import type { LayerWeights, RoutingWeights } from '../memory/weights.js'

/** A strictly causal layer besides. */
export interface CausalContext extends LayerContext {
  readonly state: CausalState
  readonly contextUpdate: ContextUpdateScratch
  /** Angles of the whole window's rows, for the keys that enter when it closes. */
  readonly windowTable: RotaryTable | undefined
}

interface RoutedCausalContext extends CausalContext {
  readonly routing: RoutingWeights
  readonly routingState: RoutingState
}

/** One chunk of a strictly causal layer; a chunk lies within one window. */
export function addCausalLayer(context: CausalContext): void {
  const { builder, weights, state } = context
  addLocalAttention(context)
  if (weights.routing === undefined || state.routing === undefined) return addCombination(context)
  const routed = { ...context, routing: weights.routing, routingState: state.routing }
  if (!context.trace) builder.skipBarrier()
  // the open window and the contexts: what the chunk before adds is read, and what it reads replaced
  builder.serialized(() => addRouting(routed))
}

function addRouting(context: RoutedCausalContext): void {
  const { builder, geometry, scratch, routingState: state, input } = context
  const { config, chunkRows, stride, windowCapacity } = geometry
  const { rows, first } = rangeWords(context.outputRows)
  addSimilarities(context, {
    products: scratch.similarityProducts,
    queries: state.openQuerySimilarities,
    keyValues: state.openKeyValueSimilarities,
    capacity: windowCapacity,
    first: headerWord(DispatchHeader.WindowOffset),
  })
  builder.skipBarrier()
  builder.op(Opcode.CopyRows, CopyRows.Length, {
    [CopyRows.Rows]: headerWord(DispatchHeader.Rows),
    [CopyRows.First]: headerWord(DispatchHeader.WindowOffset),
    [CopyRows.Input]: input,
    [CopyRows.Output]: state.openInputs,
    [CopyRows.Stride]: stride,
  })
  builder.op(Opcode.RouteCausal, RouteCausal.Length, {
    [RouteCausal.Rows]: rows,
    [RouteCausal.First]: first,
    [RouteCausal.Similarities]: state.openQuerySimilarities,
    [RouteCausal.Lists]: scratch.queryLists,
    [RouteCausal.Slots]: scratch.querySlots,
    [RouteCausal.Counts]: scratch.queryCounts,
    [RouteCausal.Experts]: config.numExperts,
    [RouteCausal.Count]: config.numRoutedQueries,
    [RouteCausal.Capacity]: windowCapacity,
    [RouteCausal.RowCapacity]: chunkRows,
  })
  addExperts(context)
  addCombination(context)
  builder.skipBarrier()
  addContextUpdate(context)
}

/**
 * When the chunk ends its window: the window's tokens compete for the contexts' places, and only those that enter are
 * projected.
 */
function addContextUpdate(context: RoutedCausalContext): void {
  const { builder, geometry, routing, routingState, state, contextUpdate, windowTable } = context
  const { config, stride, inner, headStride, contextCapacity, windowCapacity } = geometry
  builder.op(Opcode.SelectContext, SelectContext.Length, {
    [SelectContext.Similarities]: routingState.openKeyValueSimilarities,
    [SelectContext.ContextSimilarities]: routingState.contextSimilarities,
    [SelectContext.ContextPositions]: routingState.contextPositions,
    [SelectContext.Retained]: contextUpdate.retained,
    [SelectContext.RetainedCounts]: contextUpdate.retainedCounts,
    [SelectContext.Admitted]: contextUpdate.admitted,
    [SelectContext.AdmittedCounts]: contextUpdate.admittedCounts,
    [SelectContext.Candidates]: contextUpdate.candidates,
    [SelectContext.Experts]: config.numExperts,
    [SelectContext.Count]: config.numRoutedKeyValues,
    [SelectContext.ContextCapacity]: contextCapacity,
    [SelectContext.Window]: windowCapacity,
    [SelectContext.WorkBytes]: contextUpdate.candidateBytes,
  })
  routing.experts.forEach((expert, index) => {
    const count = offset(contextUpdate.admittedCounts, index)
    const indices = offset(contextUpdate.admitted, index * windowCapacity)
    const limit = DispatchHeader.ClosingRows
    addExpertNorm(builder, geometry, expert.contextNorm, {
      count,
      indices,
      input: routingState.openInputs,
      output: contextUpdate.normed,
      limit,
    })
    addProduct(builder, {
      rows: count,
      input: contextUpdate.normed,
      weights: expert.toKeyValues,
      output: contextUpdate.projected,
      inputStride: stride,
      depth: config.dim,
      outputStride: 2 * inner,
      parts: 2,
      limit,
    })
    builder.skipBarrier(headParts(geometry))
    if (windowTable) {
      addRotation(builder, geometry, windowTable, { count, values: contextUpdate.projected, stride: 2 * inner, indices, limit })
      builder.skipBarrier(headParts(geometry))
    }
    builder.op(Opcode.UpdateContext, UpdateContext.Length, {
      [UpdateContext.Retained]: offset(contextUpdate.retained, index * contextCapacity),
      [UpdateContext.RetainedCount]: offset(contextUpdate.retainedCounts, index),
      [UpdateContext.AdmittedCount]: count,
      [UpdateContext.Projected]: contextUpdate.projected,
      [UpdateContext.Keys]: state.contexts[index]!.keys,
      [UpdateContext.Values]: state.contexts[index]!.values,
      [UpdateContext.Heads]: config.heads,
      [UpdateContext.HeadStride]: headStride,
      [UpdateContext.Capacity]: contextCapacity,
    })
  })
}

/** What a new sequence begins with: the null key/value at rank 0 of every expert's context. */
export function addOpening(builder: ProgramBuilder, geometry: Geometry, weights: LayerWeights, state: CausalState): void {
  weights.routing?.experts.forEach((expert, index) => {
    builder.op(Opcode.NullContext, NullContext.Length, {
      [NullContext.Null]: expert.nullPair,
      [NullContext.Keys]: state.contexts[index]!.keys,
      [NullContext.Values]: state.contexts[index]!.values,
      [NullContext.Heads]: geometry.config.heads,
      [NullContext.HeadStride]: geometry.headStride,
      [NullContext.Capacity]: geometry.contextCapacity,
    })
  })
}
