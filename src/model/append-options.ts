import { describe, RoutedAttentionError } from '../errors.js'
import { checkOptions, namesOf } from '../options.js'
import type { Signal } from '../platform.js'
import type { ReadingOptions } from './generation/generate.js'

/** Options of `session.append`. */
export interface AppendOptions {
  /** Aborting it rejects the call with its reason and leaves the session unchanged. */
  signal?: Signal | undefined
  /**
   * Also return the surprisal of each token; default false. With full-sequence routing this costs a forward pass over
   * the whole sequence for each token.
   */
  bits?: boolean | undefined
}

/** Result of an append with `bits: true`. */
export interface AppendResult {
  /** Logits after the last token, [V]. */
  readonly logits: Float32Array
  /**
   * -log2 p of each token given the tokens before it; NaN for a session's first token. The bits are identical however
   * the text is split.
   */
  readonly bits: Float32Array
}

/** What an append should return or report. */
export interface AppendRequest extends Partial<ReadingOptions> {
  readonly bits?: boolean
  /** Whether the logits may be those of the session, which its next append overwrites; otherwise they are a copy. */
  readonly borrows?: boolean
}

const APPEND_OPTIONS = namesOf<AppendOptions>({ signal: true, bits: true })

/** @throws RoutedAttentionError `BAD_ARGUMENT` */
export function checkAppendOptions(options: AppendOptions): { signal: Signal | undefined; bits: boolean } {
  checkOptions('append', options, APPEND_OPTIONS)
  const { signal, bits = false } = options
  if (typeof bits !== 'boolean') throw new RoutedAttentionError('BAD_ARGUMENT', `append: bits must be a boolean, got ${describe(bits)}`)
  return { signal, bits }
}
