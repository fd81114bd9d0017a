import type { Interrupt } from '../../interrupt.js'

/** What a language model is asked for besides going on. */
export interface LogitsRequest {
  /** Rows whose logits are wanted: of the last token only, of all, or of none. */
  readonly rows: 'last' | 'all' | 'none'
  /**
   * Tokens whose log probabilities are wanted. With 'none', one for each row: under the logits of one forward over all.
   * With 'last', one for each row but the last: given what comes before the token, and nothing after it.
   */
  readonly targets?: Int32Array
}

/** What it answers. */
export interface LogitsResult {
  /** [rows, V], or empty. */
  readonly logits: Float32Array
  /** ln p of each target, or empty. */
  readonly logProbabilities: Float64Array
}

/** An append that has been computed; until `commit` the sequence is as it was before. */
export interface Appended {
  readonly result: LogitsResult
  readonly commit: () => void
}

/** Called between chunks: may let the event loop turn, and throws when the work should end. */
export type YieldPoint = (tokensDone: number) => Promise<void> | undefined

/** A sequence that a model has read so far. */
export interface Sequence {
  /** What reads it. */
  readonly engine: Engine
  readonly position: number
  /** Bytes of the runtime's memory that it holds. */
  readonly byteLength: number
  /**
   * Reads one token on within the call, and writes the logits after it to `logits`, [V]: where nobody need be waited
   * for, and nothing that the sequence held before is written over. Otherwise it does nothing; `append` will do.
   * @returns whether it did
   */
  step(tokenId: number, logits: Float32Array): boolean
  /**
   * Reads on.
   * @param interrupt ends it within a chunk; `yieldPoint` sees to it between them
   */
  append(tokenIds: Int32Array, request: LogitsRequest, yieldPoint: YieldPoint, interrupt?: Interrupt): Promise<Appended>
  clone(): Sequence
  /** What must be saved of it, besides its position. */
  save(): Uint8Array
  dispose(): void
}

/** How a kind of model reads sequences. */
export interface Engine {
  createSequence(): Sequence
  /** @returns undefined when `saved` does not fit the position */
  restoreSequence(position: number, saved: Uint8Array): Sequence | undefined
  /** ln p of a token under logits, [V]: with the bits of an append's `targets`. */
  logProbability(logits: Float32Array, target: number, interrupt?: Interrupt): Promise<number>
  dispose(): void
}
