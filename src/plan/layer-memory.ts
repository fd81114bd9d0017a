import { Buffer, HISTOGRAM_BYTES } from '../../assembly/steps.js'
import { type Geometry, scoreBytes } from './geometry.js'
import type { Layout } from './layout.js'
import { at, type Operand } from './program-builder.js'

/** Working memory of one piece of one layer; layers of a model share it. */
export interface LayerScratch {
  readonly normed: Operand
  readonly projected: Operand
  readonly attended: Operand
  readonly local: Operand
  readonly localScores: Operand
  readonly routedScores: Operand
  readonly similarityProducts: Operand
  /** [expert][pieceRows]. */
  readonly queryLists: Operand
  readonly querySlots: Operand
  readonly queryScores: Operand
  readonly queryCounts: Operand
  /** [expert][pieceWindows + 1]: where each window's queries begin in the expert's list. */
  readonly queryStarts: Operand
  /** [pieceWindows]: key/values of each window. */
  readonly contextEnds: Operand
  readonly queries: Operand
  /** [expert][pieceRows][stride]. */
  readonly expertOutputs: Operand
}

export function planLayerScratch(layout: Layout, geometry: Geometry, shares: number): LayerScratch {
  const { numbers, pieceRows, pieceWindows, stride, inner } = geometry
  const words = (count: number) => at(Buffer.Scratch, layout.words(count))
  const lists = numbers.numExperts * pieceRows
  return {
    normed: words(pieceRows * stride),
    projected: words(pieceRows * 3 * inner),
    attended: words(pieceRows * inner),
    local: words(pieceRows * stride),
    localScores: at(Buffer.Scratch, layout.bytes(shares * scoreBytes(geometry.localScoreStride))),
    routedScores: at(Buffer.Scratch, layout.bytes(shares * scoreBytes(geometry.contextScoreStride))),
    similarityProducts: words(pieceRows * geometry.productStride),
    queryLists: words(lists),
    querySlots: words(lists),
    queryScores: words(lists),
    queryCounts: words(numbers.numExperts),
    queryStarts: words(numbers.numExperts * (pieceWindows + 1)),
    contextEnds: words(pieceWindows),
    queries: words(pieceRows * inner),
    expertOutputs: words(lists * stride),
  }
}

/** What a strictly causal layer works in when a window closes. */
export interface ClosingScratch {
  readonly kept: Operand
  readonly keptCounts: Operand
  readonly newcomers: Operand
  readonly newcomerCounts: Operand
  readonly candidates: Operand
  readonly candidateBytes: number
  readonly normed: Operand
  readonly projected: Operand
}

export function planClosingScratch(layout: Layout, { numbers, stride, inner, contextCapacity, windowCapacity }: Geometry): ClosingScratch {
  const { numExperts, numRoutedKeyValues } = numbers
  const words = (count: number) => at(Buffer.Scratch, layout.words(count))
  const newcomers = Math.min(windowCapacity, numRoutedKeyValues)
  // a histogram, the candidates' similarities, the indices of those chosen
  const candidateBytes = HISTOGRAM_BYTES + 8 * (contextCapacity + windowCapacity)
  return {
    kept: words(numExperts * contextCapacity),
    keptCounts: words(numExperts),
    newcomers: words(numExperts * windowCapacity),
    newcomerCounts: words(numExperts),
    candidates: at(Buffer.Scratch, layout.bytes(numExperts * candidateBytes)),
    candidateBytes,
    normed: words(newcomers * stride),
    projected: words(newcomers * 2 * inner),
  }
}

/** One expert's packed contexts, one for each window of a piece. */
export interface ContextState {
  readonly keys: Operand
  readonly values: Operand
}

/** What a layer carries from piece to piece, and its contexts, which one that sees the whole sequence gathers anew for each. */
export interface LayerState {
  readonly localKeys: Operand
  readonly localValues: Operand
  readonly contexts: readonly ContextState[]
}

function planLocal(layout: Layout, { inner, localCapacity }: Geometry): Omit<LayerState, 'contexts'> {
  const words = () => at(Buffer.State, layout.words(inner * localCapacity))
  return { localKeys: words(), localValues: words() }
}

function planContexts(layout: Layout, buffer: Buffer, { numbers, pieceWindows, contextWords }: Geometry): ContextState[] {
  const words = () => at(buffer, layout.words(pieceWindows * contextWords))
  return Array.from({ length: numbers.numExperts }, () => ({ keys: words(), values: words() }))
}

/** @param contexts where the contexts of a piece lie: `Buffer.Contexts` */
export function planSequenceState(layout: Layout, contexts: Layout, geometry: Geometry): LayerState {
  return { ...planLocal(layout, geometry), contexts: planContexts(contexts, Buffer.Contexts, geometry) }
}

/** What a strictly causal layer carries besides: the open window, and the similarities its context was chosen by. */
export interface CausalState extends LayerState {
  /** [expert][window]. */
  readonly openQuerySimilarities: Operand
  readonly openKeyValueSimilarities: Operand
  /** [window][stride]: the open window's inputs, from which newcomers will be projected. */
  readonly openInputs: Operand
  /** [expert][contextCapacity]. */
  readonly contextSimilarities: Operand
  readonly contextPositions: Operand
}

export function planCausalState(layout: Layout, geometry: Geometry): CausalState {
  const { windowCapacity } = geometry
  const { numExperts } = geometry.numbers
  const words = (count: number) => at(Buffer.State, layout.words(count))
  return {
    ...planLocal(layout, geometry),
    contexts: planContexts(layout, Buffer.State, geometry),
    openQuerySimilarities: words(numExperts * windowCapacity),
    openKeyValueSimilarities: words(numExperts * windowCapacity),
    openInputs: words(windowCapacity * geometry.stride),
    contextSimilarities: words(numExperts * geometry.contextCapacity),
    contextPositions: words(numExperts * geometry.contextCapacity),
  }
}
