import { BufferIndex } from '../../../assembly/ir/header.js'
import { HISTOGRAM_BYTES } from '../../../assembly/ir/sizes.js'
import { type Geometry, scoreBytes } from '../geometry.js'
import type { Layout } from './layout.js'
import { at, type Operand } from '../../program/operand.js'

/** Working memory for one chunk of one layer, shared by a model's layers. */
export interface LayerScratch {
  readonly normed: Operand
  readonly projected: Operand
  readonly attended: Operand
  readonly local: Operand
  readonly localScores: Operand
  readonly routedScores: Operand
  readonly routerProducts: Operand
  /** [expert][chunkRows]. */
  readonly queryLists: Operand
  readonly querySlots: Operand
  readonly queryScores: Operand
  readonly queryCounts: Operand
  /** [expert][chunkWindows + 1]: where each window's queries start in the expert's list. */
  readonly queryStarts: Operand
  /** [chunkWindows]: number of key/values of each window. */
  readonly contextEnds: Operand
  readonly queries: Operand
  /** [expert][chunkRows][stride]. */
  readonly expertOutputs: Operand
}

export function planLayerScratch(layout: Layout, geometry: Geometry, partitions: number): LayerScratch {
  const { config, chunkRows, chunkWindows, stride, inner } = geometry
  const words = (count: number) => at(BufferIndex.Scratch, layout.words(count))
  const lists = config.numExperts * chunkRows
  return {
    normed: words(chunkRows * stride),
    projected: words(chunkRows * 3 * inner),
    attended: words(chunkRows * inner),
    local: words(chunkRows * stride),
    localScores: at(BufferIndex.Scratch, layout.bytes(partitions * scoreBytes(geometry.localScoreStride))),
    routedScores: at(BufferIndex.Scratch, layout.bytes(partitions * scoreBytes(geometry.contextScoreStride))),
    routerProducts: words(chunkRows * geometry.productStride),
    queryLists: words(lists),
    querySlots: words(lists),
    queryScores: words(lists),
    queryCounts: words(config.numExperts),
    queryStarts: words(config.numExperts * (chunkWindows + 1)),
    contextEnds: words(chunkWindows),
    queries: words(chunkRows * inner),
    expertOutputs: words(lists * stride),
  }
}

/** Scratch for a causal layer's context update, when a window closes. */
export interface ContextUpdateScratch {
  readonly retained: Operand
  readonly retainedCounts: Operand
  readonly admitted: Operand
  readonly admittedCounts: Operand
  readonly candidates: Operand
  readonly candidateBytes: number
  /** Maximum rows projected at a time. */
  readonly rows: number
  readonly normed: Operand
  readonly projected: Operand
}

export function planContextUpdateScratch(
  layout: Layout,
  { config, stride, inner, contextCapacity, windowCapacity }: Geometry,
): ContextUpdateScratch {
  const { numExperts, numRoutedKeyValues } = config
  const words = (count: number) => at(BufferIndex.Scratch, layout.words(count))
  const rows = Math.min(windowCapacity, numRoutedKeyValues)
  // A histogram, the candidates' router scores, and the indices of the chosen ones
  const candidateBytes = HISTOGRAM_BYTES + 8 * (contextCapacity + windowCapacity)
  return {
    retained: words(numExperts * contextCapacity),
    retainedCounts: words(numExperts),
    admitted: words(numExperts * windowCapacity),
    admittedCounts: words(numExperts),
    candidates: at(BufferIndex.Scratch, layout.bytes(numExperts * candidateBytes)),
    candidateBytes,
    rows,
    normed: words(rows * stride),
    projected: words(rows * 2 * inner),
  }
}

/** One expert's packed contexts, one per window of a chunk. */
export interface ContextState {
  readonly keys: Operand
  readonly values: Operand
}

/**
 * State that a layer carries from chunk to chunk, and its contexts, which a full-sequence layer gathers for each
 * chunk.
 */
export interface LayerState {
  readonly localKeys: Operand
  readonly localValues: Operand
  readonly contexts: readonly ContextState[]
}

function planLocal(layout: Layout, { inner, localCapacity }: Geometry): Omit<LayerState, 'contexts'> {
  const words = () => at(BufferIndex.State, layout.words(inner * localCapacity))
  return { localKeys: words(), localValues: words() }
}

function planContexts(layout: Layout, buffer: BufferIndex, { config, chunkWindows, contextWords }: Geometry): ContextState[] {
  const words = () => at(buffer, layout.words(chunkWindows * contextWords))
  return Array.from({ length: config.numExperts }, () => ({ keys: words(), values: words() }))
}

/** @param contexts location of a chunk's contexts: `BufferIndex.Contexts` */
export function planFullSequenceLayerState(layout: Layout, contexts: Layout, geometry: Geometry): LayerState {
  return { ...planLocal(layout, geometry), contexts: planContexts(contexts, BufferIndex.Contexts, geometry) }
}

/** An expert's context, and the inputs that its keys and values are projected from. */
export interface CausalContextState extends ContextState {
  /** [contextRows][stride], by rank without the null KV; absent in a state that is never saved. */
  readonly inputs: Operand | undefined
}

/** The state of a causal layer. */
export interface CausalLayerState extends LayerState {
  /**
   * [inputRows][stride], a ring: the layer's inputs for the open window, from which admitted tokens will be
   * projected; in a state that can be saved also those for the tokens that the last one attended to, from which local
   * keys and values were.
   */
  readonly recentInputs: Operand
  readonly contexts: readonly CausalContextState[]
  /** Absent if the layer has only local attention. */
  readonly routing: RoutingState | undefined
}

/** The state of a causal layer with a routed part. */
export interface RoutedLayerState extends CausalLayerState {
  readonly routing: RoutingState
}

/** The open window's router scores, and those by which the contexts were chosen. */
export interface RoutingState {
  /** [expert][window]. */
  readonly openQueryRouterScores: Operand
  readonly openKeyValueRouterScores: Operand
  /** [expert][contextCapacity]. */
  readonly contextRouterScores: Operand
  /** [expert][contextCapacity], 64-bit integers. */
  readonly contextPositions: Operand
}

/** The state of a layer with only local attention. */
export function planLocalLayerState(layout: Layout, geometry: Geometry): CausalLayerState {
  return { ...planLocal(layout, geometry), recentInputs: planRecentInputs(layout, geometry), contexts: [], routing: undefined }
}

/** @param isSavable whether it keeps what keys and values are projected from */
export function planRoutedLayerState(layout: Layout, geometry: Geometry, isSavable: boolean): RoutedLayerState {
  const inputs = () => at(BufferIndex.State, layout.words(geometry.contextRows * geometry.stride))
  return {
    ...planLocal(layout, geometry),
    recentInputs: planRecentInputs(layout, geometry),
    contexts: planContexts(layout, BufferIndex.State, geometry).map((context) => ({
      ...context,
      inputs: isSavable ? inputs() : undefined,
    })),
    routing: planRoutingState(layout, geometry),
  }
}

function planRecentInputs(layout: Layout, { inputRows, stride }: Geometry): Operand {
  return at(BufferIndex.State, layout.words(inputRows * stride))
}

function planRoutingState(layout: Layout, { config, contextCapacity, windowCapacity }: Geometry): RoutingState {
  const { numExperts } = config
  const words = (count: number) => at(BufferIndex.State, layout.words(count))
  return {
    openQueryRouterScores: words(numExperts * windowCapacity),
    openKeyValueRouterScores: words(numExperts * windowCapacity),
    contextRouterScores: words(numExperts * contextCapacity),
    contextPositions: words(2 * numExperts * contextCapacity),
  }
}
