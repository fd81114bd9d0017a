import type { Interrupt } from '../../interrupt.js'
import type { LayerInspection } from '../inspection.js'
import type { DecodeCounts } from './decode-counts.js'

/** What a language model should return besides advancing the sequence. */
export interface LogitsRequest {
  /** Rows whose logits are requested: the last token's, all, or none. */
  readonly rows: 'last' | 'all' | 'none'
  /**
   * Tokens whose log probabilities are requested. With 'none', one per row, under the logits of a single forward pass
   * over all. With 'last', one per row except the last, given only the preceding tokens.
   */
  readonly targets?: Int32Array
  /** With 'last', where the logits are written, [V]: what it holds is lost, even after an error. Default: a new array. */
  readonly into?: Float32Array | undefined
}

/** The result of a request. */
export interface LogitsResult {
  /** [rows, V], or empty. */
  readonly logits: Float32Array
  /** ln p of each target, or empty. */
  readonly logProbabilities: Float64Array
}

/** An append that has been computed; the sequence is unchanged until `commit`. */
export interface Appended {
  readonly result: LogitsResult
  readonly commit: () => void
}

/** Called between chunks: may yield to the event loop, and throws if the work should end. */
export type YieldPoint = (tokensDone: number) => Promise<void> | undefined

/** The tokens a model has read so far, with its state. */
export interface Sequence {
  /** The executor that reads it. */
  readonly executor: Executor
  readonly position: number
  /** Bytes of the runtime's memory that it uses. */
  readonly byteLength: number
  /**
   * Reads one token synchronously and writes the logits after it to `logits`, [V], if it does not have to wait and no
   * earlier state is overwritten. Otherwise it does nothing, and `append` must be used.
   * @returns whether it did
   */
  step(tokenId: number, logits: Float32Array): boolean
  /**
   * Reads more tokens.
   * @param interrupt ends it within a chunk; `yieldPoint` does so between chunks
   */
  append(tokenIds: Int32Array, request: LogitsRequest, yieldPoint: YieldPoint, interrupt?: Interrupt): Promise<Appended>
  /**
   * What the last token attended to, in each layer; changes nothing. Absent where later tokens change that, too. There
   * must be a last token.
   */
  inspect?(yieldPoint: YieldPoint, interrupt: Interrupt): Promise<LayerInspection[]>
  clone(): Sequence
  /**
   * The state to be saved, besides the position.
   * @param before bytes left free in front of it, a multiple of 4; default 0
   * @param after bytes left free behind it; default 0
   * @returns all of a buffer
   */
  save(before?: number, after?: number): Uint8Array<ArrayBuffer>
  dispose(): void
}

/** Reads sequences with one kind of model. */
export interface Executor {
  /** What was decoded; absent if sequences are not batched. */
  readonly decodeCounts?: DecodeCounts
  createSequence(): Sequence
  /**
   * @param saved aligned to 4; not needed any more once it returns
   * @returns undefined if it does not fit the position
   */
  restoreSequence(position: number, saved: Uint8Array): Sequence | undefined
  /** ln p of a token under logits, [V], bit-identical to that of an append's `targets`. */
  logProbability(logits: Float32Array, target: number, interrupt?: Interrupt): Promise<number>
  dispose(): void
}
