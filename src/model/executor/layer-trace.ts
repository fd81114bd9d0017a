import { Tensor } from '../../tensor.js'
import type { LayerConfig } from '../../plan/config.js'

/** Result of a traced forward. */
export interface LayerTrace {
  /** (batch, n, dim). */
  readonly out: Tensor
  /** (batch, n, dim): local attention alone, never averaged. */
  readonly localOut: Tensor
  /** (batch, windows, experts, window): 1 if a token of window 1, 2, … is a query of the expert, else 0. */
  readonly routedQueries: Tensor
  /**
   * (batch, windows, experts, k): positions of the key/values of window 1, 2, …, ascending; empty places, -1, come
   * first.
   */
  readonly keyValueIndices: Tensor
}

/** The parts of a call that determine the shapes of its results. */
export interface TracedCall {
  readonly config: LayerConfig
  readonly batch: number
  readonly length: number
  readonly trace: boolean
}

/** The tensors of a trace as they are filled; without a trace, only `out` is allocated. */
export class TraceBuilder {
  readonly #config: LayerConfig
  readonly #windows: number
  readonly #places: number
  readonly #trace: LayerTrace

  /** @throws RoutedAttentionError `OUT_OF_MEMORY` */
  constructor({ config, batch, length, trace }: TracedCall) {
    const { dim, numExperts, routedWindowSize, numRoutedKeyValues } = config
    this.#config = config
    this.#windows = Math.max(0, Math.ceil(length / routedWindowSize) - 1)
    this.#places = Math.min(numRoutedKeyValues, this.#windows * routedWindowSize)
    const zeros = (...shape: number[]) => Tensor.zeros(trace ? shape : [0])
    this.#trace = {
      out: Tensor.zeros([batch, length, dim]),
      localOut: zeros(batch, length, dim),
      routedQueries: zeros(batch, this.#windows, numExperts, routedWindowSize),
      keyValueIndices: zeros(batch, this.#windows, numExperts, this.#places),
    }
    this.#trace.keyValueIndices.data.fill(-1)
  }

  get out(): Float32Array {
    return this.#trace.out.data
  }

  get localOut(): Float32Array {
    return this.#trace.localOut.data
  }

  /** Marks a token of a window (from 1) as an expert's query. */
  query(sequence: number, window: number, expert: number, token: number): void {
    this.#trace.routedQueries.data[this.#pair(sequence, window, expert) * this.#config.routedWindowSize + token] = 1
  }

  /** Records an expert's key/values for a window (from 1). */
  keyValues(sequence: number, window: number, expert: number, positions: Int32Array): void {
    this.#trace.keyValueIndices.data.set(positions, (this.#pair(sequence, window, expert) + 1) * this.#places - positions.length)
  }

  finish(): LayerTrace {
    return this.#trace
  }

  #pair(sequence: number, window: number, expert: number): number {
    return (sequence * this.#windows + window - 1) * this.#config.numExperts + expert
  }
}
