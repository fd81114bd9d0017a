import { DispatchHeader } from '../../../assembly/ir/header.js'
import { Opcode } from '../../../assembly/ir/ops.js'
import type { CausalLayerState, ContextUpdateScratch, RoutingState } from '../memory/layer-memory.js'
import { addCombination } from './combination-ops.js'
import type { LayerContext } from './layer-context.js'
import { addLocalAttention, addLocalProjection, addLocalStore } from './local-ops.js'
import { offset, headerWord, rangeWords } from './operands.js'
import { addProduct } from './product-ops.js'
import { addExpertNorm, addExperts, addRouterScores } from './routed-ops.js'
import { type Geometry, headGroups } from '../geometry.js'
import type { Operand } from '../../program/operand.js'
import type { ProgramBuilder } from './program-builder.js'
import type { LayerWeights, RoutingWeights } from '../memory/layer-weights.js'
import { addRotaryTable, addRotation, type RotarySource, type RotaryTable } from './rotary-ops.js'

/** Additional context for a causal layer. */
export interface CausalContext extends LayerContext {
  readonly state: CausalLayerState
  readonly contextUpdate: ContextUpdateScratch
  /** Angles of all rows of the window that closes, for the keys admitted from it. */
  readonly windowTable: RotaryTable | undefined
}

interface RoutedCausalContext extends CausalContext {
  readonly routing: RoutingWeights
  readonly routingState: RoutingState
}

/** One chunk of a causal layer; a chunk stays within one window. */
export function addCausalLayer(context: CausalContext): void {
  const { builder, weights, state } = context
  if (weights.routing === undefined || state.routing === undefined) {
    addLocalAttention(context, () => {
      addRecentInputs(context)
      // no other op reads what it writes
      builder.skipBarrier()
    })
    return addCombination(context)
  }
  addLocalAttention(context)
  const routed = { ...context, routing: weights.routing, routingState: state.routing }
  if (!context.trace) builder.skipBarrier()
  // the open window and the contexts: reads what the previous chunk added, and replaces what it read
  builder.serialized(() => addRouting(routed))
  addCombination(context)
}

/** Keeps the chunk's inputs, in the places of those that nothing holds any more. */
function addRecentInputs({ builder, geometry, state, input }: CausalContext): void {
  builder.op(Opcode.CopyRows, {
    rows: headerWord(DispatchHeader.Rows),
    first: headerWord(DispatchHeader.InputRow),
    input,
    output: state.recentInputs,
    stride: geometry.stride,
    ring: geometry.inputRows,
  })
}

function addRouting(context: RoutedCausalContext): void {
  const { builder, geometry, scratch, routingState: state } = context
  const { config, chunkRows, windowCapacity } = geometry
  const { rows, first } = rangeWords(context.outputRows)
  addContextUpdate(context)
  // what it writes is read behind other barriers
  builder.skipBarrier()
  addRouterScores(context, {
    products: scratch.routerProducts,
    queries: state.openQueryRouterScores,
    keyValues: state.openKeyValueRouterScores,
    capacity: windowCapacity,
    first: headerWord(DispatchHeader.WindowOffset),
  })
  builder.skipBarrier()
  addRecentInputs(context)
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
}

/** The context update alone, for a token whose dispatch leaves it out: run before that, if the token begins a window. */
export function addWindowClosing(context: Omit<ContextUpdateContext, 'routing' | 'routingState'> & Pick<CausalContext, 'weights'>): void {
  const { routing } = context.weights
  if (routing && context.state.routing) addContextUpdate({ ...context, routing, routingState: context.state.routing })
}

type ContextUpdateContext = Pick<
  RoutedCausalContext,
  'builder' | 'geometry' | 'routing' | 'routingState' | 'state' | 'contextUpdate' | 'windowTable'
>

/**
 * If the chunk begins a window, the tokens of the one before compete for places in the contexts, and only the admitted
 * ones are projected.
 */
function addContextUpdate(context: ContextUpdateContext): void {
  const { builder, geometry, routing, routingState, state, contextUpdate, windowTable } = context
  const { config, contextCapacity, windowCapacity } = geometry
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
  routing.experts.forEach((_expert, index) => {
    const count = offset(contextUpdate.admittedCounts, index)
    const indices = offset(contextUpdate.admitted, index * windowCapacity)
    const limit = DispatchHeader.ClosingRows
    const retained = offset(contextUpdate.retained, index * contextCapacity)
    const retainedCount = offset(contextUpdate.retainedCounts, index)
    const first = headerWord(DispatchHeader.ClosingInputRow)
    const { inputs } = state.contexts[index]!
    if (inputs) {
      builder.op(Opcode.UpdateContextInputs, {
        retained,
        retainedCount,
        admitted: indices,
        admittedCount: count,
        first,
        recent: state.recentInputs,
        inputs,
        stride: geometry.stride,
        ring: geometry.inputRows,
      })
      builder.skipBarrier()
    }
    const rows = { count, first, indices, input: state.recentInputs, ring: geometry.inputRows, limit }
    addContextKeyValues({ ...context, table: windowTable }, index, rows, { retained, retainedCount })
  })
}

/** What an expert's keys and values are made with. */
interface ContextProjection {
  readonly builder: ProgramBuilder
  readonly geometry: Geometry
  readonly routing: RoutingWeights
  readonly state: CausalLayerState
  readonly contextUpdate: ContextUpdateScratch
  /** Rotates the rows' keys: by row of the table, or `indices`. */
  readonly table: RotaryTable | undefined
}

/** Projects rows, and appends them to those that an expert's context retains. */
function addContextKeyValues(
  { builder, geometry, routing, state, contextUpdate, table }: ContextProjection,
  index: number,
  rows: { count: Operand; first: Operand; indices?: Operand; input: Operand; ring?: number; limit: DispatchHeader },
  retaining: { retained?: Operand; retainedCount: Operand },
): void {
  const { config, stride, inner, headStride, contextCapacity } = geometry
  const { count, indices, limit } = rows
  const { contextNorm, toKeyValues } = routing.experts[index]!
  const { normed, projected } = contextUpdate
  addExpertNorm(builder, geometry, contextNorm, { ...rows, output: normed })
  addProduct(builder, {
    rows: count,
    input: normed,
    weights: toKeyValues,
    output: projected,
    inputStride: stride,
    depth: config.dim,
    outputStride: 2 * inner,
    projections: 2,
    limit,
  })
  builder.skipBarrier(headGroups(geometry))
  if (table) {
    addRotation(builder, geometry, table, { count, values: projected, stride: 2 * inner, indices, limit })
    builder.skipBarrier(headGroups(geometry))
  }
  builder.op(Opcode.UpdateContext, {
    retained: retaining.retained,
    retainedCount: retaining.retainedCount,
    admittedCount: count,
    projected,
    keys: state.contexts[index]!.keys,
    values: state.contexts[index]!.values,
    heads: config.heads,
    headStride,
    capacity: contextCapacity,
  })
}

/** Local keys and values of a chunk's tokens, from their inputs in the state. */
export function addLocalRestoring(
  context: Pick<CausalContext, 'builder' | 'geometry' | 'weights' | 'scratch' | 'state' | 'localTable'>,
): void {
  const local = { ...context, input: context.state.recentInputs }
  addLocalProjection(local, { first: headerWord(DispatchHeader.InputRow), ring: context.geometry.inputRows })
  addLocalStore(local)
}

/**
 * Keys and values of an expert's context from their inputs in the state: of as many as the dispatch header's `Rows`,
 * from `FirstRow` on, after those that precede them. `ClosingRows` is the same number.
 * @param rotary angles of positions, and where their table goes, if the keys are rotated
 */
export function addContextRestoring(
  context: Omit<ContextProjection, 'table'>,
  index: number,
  rotary: { source: RotarySource; table: Operand } | undefined,
): void {
  const { builder, geometry, state } = context
  const count = headerWord(DispatchHeader.Rows)
  const first = headerWord(DispatchHeader.FirstRow)
  const positions = state.routing && offset(state.routing.contextPositions, 2 * index * geometry.contextCapacity)
  const table = rotary && addRotaryTable(builder, rotary.source, { count, positions, first }, rotary.table)
  if (table) builder.skipBarrier()
  const rows = { count, first, input: state.contexts[index]!.inputs!, limit: DispatchHeader.ClosingRows }
  addContextKeyValues({ ...context, table }, index, rows, { retainedCount: first })
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
