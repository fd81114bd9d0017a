import { BufferIndex } from '../../../assembly/ir/header.js'
import { Opcode } from '../../../assembly/ir/ops.js'
import { HISTOGRAM_BYTES } from '../../../assembly/ir/sizes.js'
import { SelectionAlgorithm } from '../../../assembly/ir/values.js'
import type { Geometry, PlanLimits } from '../geometry.js'
import { type Layout, roundUp } from '../memory/layout.js'
import { addCombination } from './combination-ops.js'
import type { LayerContext } from './layer-context.js'
import { addLocalAttention } from './local-ops.js'
import { offset, rangeWords } from './operands.js'
import { addProduct } from './product-ops.js'
import { addExpertNorm, addExperts } from './routed-ops.js'
import type { ProgramBuilder } from './program-builder.js'
import type { DescentFields } from '../../program/op-fields.js'
import { at, type Operand } from '../../program/operand.js'
import { addRotation, type RotaryTable } from './rotary-ops.js'
import type { ExpertWeights } from '../memory/layer-weights.js'

/**
 * Decisions of a full-sequence layer over the whole sequence, made before any output is computed. Arrays by position
 * are [expert][capacity].
 */
export interface FullSequenceMemory {
  readonly capacity: number
  readonly windows: number
  /** Maximum rows per dispatch of router scores. */
  readonly routerScoreRows: number
  readonly routerProducts: Operand
  readonly queryRouterScores: Operand
  readonly keyValueRouterScores: Operand
  readonly queryMask: Operand
  readonly queryScores: Operand
  /** [window - 1][expert][listCapacity]. */
  readonly lists: Operand
  readonly listScores: Operand
  readonly listCapacity: number
  /** The mask of key/values that some window uses, then their slots. */
  readonly slots: Operand
  readonly positions: Operand
  readonly counts: Operand
  /**
   * Slots reserved per expert. If the maximum is reserved, nothing needs to know how many were chosen before everything
   * is computed. 0 if only used slots are kept, expert after expert.
   */
  readonly slotStride: number
  readonly work: Operand
  readonly workBytes: number
}

/**
 * Rows whose router scores are computed in one dispatch, unless a chunk has more: little memory, and few enough
 * dispatches.
 */
const ROUTER_SCORE_ROWS = 4096

/** @param length tokens in the sequence */
export function planFullSequence(
  layout: Layout,
  { config, windowCapacity, chunkRows, productStride, inner, stride }: Geometry,
  length: number,
  { partitions, hostVisible, bufferBytes }: PlanLimits,
): FullSequenceMemory {
  const { numExperts, routedWindowSize, numRoutedKeyValues } = config
  const capacity = roundUp(length)
  const windows = Math.max(0, Math.ceil(length / routedWindowSize) - 1)
  const past = windows * routedWindowSize
  const listCapacity = Math.min(numRoutedKeyValues, past)
  const words = (count: number) => at(BufferIndex.Call, layout.words(count))
  // A histogram; then values, indices and scores of a window, or the values of a whole row of candidates
  const workBytes = HISTOGRAM_BYTES + 4 * roundUp(Math.max(3 * windowCapacity, past, listCapacity + windowCapacity) + 8, 16)
  const maxSlots = roundUp(Math.min(length, windows * listCapacity))
  const fits = numExperts * maxSlots * 2 * inner * 4 <= bufferBytes && maxSlots * stride * 4 <= bufferBytes / 4
  const routerScoreRows = Math.min(length, Math.max(ROUTER_SCORE_ROWS, chunkRows))
  return {
    capacity,
    windows,
    routerScoreRows,
    routerProducts: words(routerScoreRows * productStride),
    queryRouterScores: words(numExperts * capacity),
    keyValueRouterScores: words(numExperts * capacity),
    queryMask: words(numExperts * capacity),
    queryScores: words(numExperts * capacity),
    lists: words(windows * numExperts * listCapacity),
    listScores: words(windows * numExperts * listCapacity),
    listCapacity,
    slots: words(numExperts * capacity),
    positions: words(numExperts * capacity),
    counts: words(numExperts),
    slotStride: hostVisible || !fits ? 0 : maxSlots,
    work: at(BufferIndex.Call, layout.bytes(partitions * workBytes)),
    workBytes,
  }
}

function descentFields({ config }: Geometry): DescentFields {
  return {
    fetchRatio: config.fetchKRatio,
    eps: config.eps,
    epsInit: config.epsInit,
    epsDecay: config.epsDecay,
    iterations: config.nIters,
    straightThrough: config.straightThrough,
    selection: config.selection === 'top-k' ? SelectionAlgorithm.TopK : SelectionAlgorithm.CoordinateDescent,
  }
}

/**
 * Selects the queries of some windows, and the earlier tokens that are their key/values. Windows must come in ascending
 * order.
 */
export function addSelections(builder: ProgramBuilder, geometry: Geometry, memory: FullSequenceMemory): void {
  const { numExperts, routedWindowSize, numRoutedQueries, numRoutedKeyValues } = geometry.config
  builder.op(Opcode.SelectQueries, {
    routerScores: memory.queryRouterScores,
    queryMask: memory.queryMask,
    scores: memory.queryScores,
    work: memory.work,
    experts: numExperts,
    count: numRoutedQueries,
    windowSize: routedWindowSize,
    capacity: memory.capacity,
    workBytes: memory.workBytes,
    ...descentFields(geometry),
  })
  builder.op(Opcode.SelectKeyValues, {
    routerScores: memory.keyValueRouterScores,
    lists: memory.lists,
    scores: memory.listScores,
    keyValueMask: memory.slots,
    work: memory.work,
    experts: numExperts,
    count: numRoutedKeyValues,
    windowSize: routedWindowSize,
    capacity: memory.capacity,
    listCapacity: memory.listCapacity,
    workBytes: memory.workBytes,
    ...descentFields(geometry),
  })
}

/** Numbers the chosen (token, expert) pairs, so that each is projected once, whichever windows use it. */
export function addSlots(builder: ProgramBuilder, { config }: Geometry, memory: FullSequenceMemory): void {
  builder.op(Opcode.AssignSlots, {
    slots: memory.slots,
    positions: memory.positions,
    counts: memory.counts,
    experts: config.numExperts,
    capacity: memory.capacity,
    stride: memory.slotStride,
  })
}

/**
 * Projects `count` of one expert's selected tokens: positions at `BufferIndex.SelectedPositions`, from the sequence at
 * `BufferIndex.Input` to `BufferIndex.KeyValues`.
 */
export function addProjection(
  builder: ProgramBuilder,
  geometry: Geometry,
  weights: ExpertWeights,
  count: Operand,
  normed: Operand,
  table: RotaryTable | undefined,
): void {
  const values = at(BufferIndex.KeyValues)
  addExpertNorm(builder, geometry, weights.contextNorm, {
    count,
    indices: at(BufferIndex.SelectedPositions),
    input: at(BufferIndex.Input),
    output: normed,
  })
  addProduct(builder, {
    rows: count,
    input: normed,
    weights: weights.toKeyValues,
    output: values,
    inputStride: geometry.stride,
    depth: geometry.config.dim,
    outputStride: 2 * geometry.inner,
  })
  if (table) addRotation(builder, geometry, table, { count, values, stride: 2 * geometry.inner })
}

/** One chunk of a full-sequence layer, after all routing decisions. */
export function addFullSequenceLayer(context: LayerContext, memory: FullSequenceMemory): void {
  const { builder, geometry, scratch, state } = context
  const { routing } = context.weights
  const { config, chunkRows, chunkWindows, headStride, contextCapacity } = geometry
  addLocalAttention(context)
  if (routing !== undefined && memory.windows > 0) {
    // lists and contexts are built in parallel with the local outputs
    if (!context.trace) builder.skipBarrier()
    const { rows, first } = rangeWords(context.outputRows)
    builder.op(Opcode.ListQueries, {
      rows,
      first,
      queryMask: memory.queryMask,
      scores: memory.queryScores,
      lists: scratch.queryLists,
      slots: scratch.querySlots,
      counts: scratch.queryCounts,
      listScores: scratch.queryScores,
      experts: config.numExperts,
      capacity: memory.capacity,
      rowCapacity: chunkRows,
      starts: scratch.queryStarts,
      ends: scratch.contextEnds,
      startCapacity: chunkWindows + 1,
      windowSize: config.routedWindowSize,
      keyValues: config.numRoutedKeyValues,
    })
    routing.experts.forEach((expert, index) => {
      // the first one reads the numbers of key/values from the lists
      if (index > 0) builder.skipBarrier()
      builder.op(Opcode.GatherContext, {
        lists: memory.lists,
        scores: memory.listScores,
        slots: memory.slots,
        keyValues: at(BufferIndex.KeyValues),
        null: expert.nullPair,
        keys: state.contexts[index]!.keys,
        values: state.contexts[index]!.values,
        expert: index,
        experts: config.numExperts,
        listCapacity: memory.listCapacity,
        sequenceCapacity: memory.capacity,
        heads: config.heads,
        headStride,
        capacity: contextCapacity,
        ends: scratch.contextEnds,
        contextStride: geometry.contextWords,
      })
    })
    addExperts(
      { ...context, routing },
      {
        ends: scratch.contextEnds,
        starts: (expert) => offset(scratch.queryStarts, expert * (chunkWindows + 1)),
        rows: Math.min(config.numRoutedQueries, geometry.windowCapacity),
      },
    )
  }
  addCombination(context, true)
}
