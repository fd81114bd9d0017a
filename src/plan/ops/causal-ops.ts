import { DispatchHeader } from '../../../assembly/ir/header.js'
import { Opcode } from '../../../assembly/ir/ops.js'
import type { CausalLayerState, ContextUpdateScratch, RoutingState } from '../memory/layer-memory.js'
import {
  addCombination,
  addExpertNorm,
  addExperts,
  addLocalAttention,
  addProduct,
  addRotation,
  addRouterScores,
  headGroups,
  type LayerContext,
  offset,
  headerWord,
  rangeWords,
  type RotaryTable,
} from './layer-ops.js'
import type { Geometry } from '../geometry.js'
import type { ProgramBuilder } from './program-builder.js'
import type { LayerWeights, RoutingWeights } from '../memory/layer-weights.js'

/** Additional context for a causal layer. */
export interface CausalContext extends LayerContext {
  readonly state: CausalLayerState
  readonly contextUpdate: ContextUpdateScratch
  /** Angles of all rows of the window, for the keys admitted when it closes. */
  readonly windowTable: RotaryTable | undefined
}

interface RoutedCausalContext extends CausalContext {
  readonly routing: RoutingWeights
  readonly routingState: RoutingState
}

/** One chunk of a causal layer; a chunk stays within one window. */
export function addCausalLayer(context: CausalContext): void {
  const { builder, weights, state } = context
  addLocalAttention(context)
  if (weights.routing === undefined || state.routing === undefined) return addCombination(context)
  const routed = { ...context, routing: weights.routing, routingState: state.routing }
  if (!context.trace) builder.skipBarrier()
  // the open window and the contexts: reads what the previous chunk added, and replaces what it read
  builder.serialized(() => addRouting(routed))
}

function addRouting(context: RoutedCausalContext): void {
  const { builder, geometry, scratch, routingState: state, input } = context
  const { config, chunkRows, stride, windowCapacity } = geometry
  const { rows, first } = rangeWords(context.outputRows)
  addRouterScores(context, {
    products: scratch.routerProducts,
    queries: state.openQueryRouterScores,
    keyValues: state.openKeyValueRouterScores,
    capacity: windowCapacity,
    first: headerWord(DispatchHeader.WindowOffset),
  })
  builder.skipBarrier()
  builder.op(Opcode.CopyRows, {
    rows: headerWord(DispatchHeader.Rows),
    first: headerWord(DispatchHeader.WindowOffset),
    input,
    output: state.openInputs,
    stride,
  })
  builder.op(Opcode.RouteCausal, {
    rows,
    first,
    routerScores: state.openQueryRouterScores,
    lists: scratch.queryLists,
    slots: scratch.querySlots,
    counts: scratch.queryCounts,
    experts: config.numExperts,
    count: config.numRoutedQueries,
    capacity: windowCapacity,
    rowCapacity: chunkRows,
  })
  addExperts(context)
  addCombination(context)
  builder.skipBarrier()
  addContextUpdate(context)
}

/**
 * If the chunk ends its window, the window's tokens compete for places in the contexts, and only the admitted ones are
 * projected.
 */
function addContextUpdate(context: RoutedCausalContext): void {
  const { builder, geometry, routing, routingState, state, contextUpdate, windowTable } = context
  const { config, stride, inner, headStride, contextCapacity, windowCapacity } = geometry
  builder.op(Opcode.SelectContext, {
    routerScores: routingState.openKeyValueRouterScores,
    contextRouterScores: routingState.contextRouterScores,
    contextPositions: routingState.contextPositions,
    retained: contextUpdate.retained,
    retainedCounts: contextUpdate.retainedCounts,
    admitted: contextUpdate.admitted,
    admittedCounts: contextUpdate.admittedCounts,
    candidates: contextUpdate.candidates,
    experts: config.numExperts,
    count: config.numRoutedKeyValues,
    contextCapacity,
    window: windowCapacity,
    workBytes: contextUpdate.candidateBytes,
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
      projections: 2,
      limit,
    })
    builder.skipBarrier(headGroups(geometry))
    if (windowTable) {
      addRotation(builder, geometry, windowTable, { count, values: contextUpdate.projected, stride: 2 * inner, indices, limit })
      builder.skipBarrier(headGroups(geometry))
    }
    builder.op(Opcode.UpdateContext, {
      retained: offset(contextUpdate.retained, index * contextCapacity),
      retainedCount: offset(contextUpdate.retainedCounts, index),
      admittedCount: count,
      projected: contextUpdate.projected,
      keys: state.contexts[index]!.keys,
      values: state.contexts[index]!.values,
      heads: config.heads,
      headStride,
      capacity: contextCapacity,
    })
  })
}

/** Initial state of a sequence: the null KV at rank 0 of every expert's context. */
export function addOpening(builder: ProgramBuilder, geometry: Geometry, weights: LayerWeights, state: CausalLayerState): void {
  weights.routing?.experts.forEach((expert, index) => {
    builder.op(Opcode.NullContext, {
      null: expert.nullPair,
      keys: state.contexts[index]!.keys,
      values: state.contexts[index]!.values,
      heads: geometry.config.heads,
      headStride: geometry.headStride,
      capacity: geometry.contextCapacity,
    })
  })
}
