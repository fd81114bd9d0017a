import type { CharSet } from '../char-set.js'

/** A regular expression as a tree. */
export type PatternNode =
  | { readonly kind: 'set'; readonly set: CharSet }
  | { readonly kind: 'sequence'; readonly nodes: readonly PatternNode[] }
  | { readonly kind: 'alternatives'; readonly nodes: readonly PatternNode[] }
  | { readonly kind: 'repeat'; readonly node: PatternNode; readonly min: number; readonly max: number; readonly mode: RepeatMode }
  | { readonly kind: 'look'; readonly node: PatternNode; readonly isNegative: boolean; readonly isBehind: boolean }
  | { readonly kind: 'atomic'; readonly node: PatternNode }
  | { readonly kind: 'assertion'; readonly assertion: Assertion }

export type RepeatMode = 'greedy' | 'lazy' | 'possessive'
export type Assertion = 'word boundary' | 'no word boundary' | 'line begin' | 'line end' | 'text begin' | 'text end' | 'last line end'

/** Why a pattern is rejected. */
export class PatternError extends Error {
  constructor(
    message: string,
    /** Whether it is invalid, rather than unsupported. */
    readonly isBroken: boolean,
  ) {
    super(message)
  }
}
