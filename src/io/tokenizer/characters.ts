import { CharSet, parseRanges } from './char-set.js'
import {
  ALSO_MARK,
  ALSO_NONSPACING_MARK,
  ALSO_PUNCTUATION,
  NO_MARK,
  NO_NONSPACING_MARK,
  NO_OTHER,
  NO_PUNCTUATION,
  NOT_NORMALIZED,
  SINCE_UNICODE_17,
} from './unicode-versions.js'

/** A Unicode class of this engine, corrected for characters that Hugging Face's library classifies differently. */
function asInLibrary(pattern: RegExp, except: string, also?: string): CharSet {
  const isExcepted = parseRanges(except)
  const isAdded = also === undefined ? () => false : parseRanges(also)
  return new CharSet((codePoint) => (pattern.test(String.fromCodePoint(codePoint)) && !isExcepted(codePoint)) || isAdded(codePoint))
}

/** Computes a value when first needed, so that nothing happens at import. */
function lazy<T>(make: () => T): () => T {
  let made: T | undefined
  return () => (made ??= make())
}

/** White_Space, Rust's `\s`: includes U+0085 and excludes U+FEFF, the opposite of JavaScript's `\s`. */
export const whitespace = lazy(() => CharSet.matching(/\p{White_Space}/u))
export const numbers = lazy(() => CharSet.matching(/\p{N}/u))
export const punctuation = lazy(() => asInLibrary(/[\p{P}!-/:-@[-`{-~]/u, NO_PUNCTUATION, ALSO_PUNCTUATION))
/** Characters removed by BERT's cleaning. */
export const control = lazy(() => asInLibrary(/[\0\ufffd]|(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}]/u, NO_OTHER))
export const marks = lazy(() => asInLibrary(/\p{M}/u, NO_MARK, ALSO_MARK))
export const nonspacingMarks = lazy(() => asInLibrary(/\p{Mn}/u, NO_NONSPACING_MARK, ALSO_NONSPACING_MARK))
/** `\w` in Rust's regular expressions. */
export const wordCharacters = lazy(() => asInLibrary(/[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u, SINCE_UNICODE_17))
export const notNormalized = lazy(() => new CharSet(parseRanges(NOT_NORMALIZED)))
export const sinceUnicode17 = lazy(() => new CharSet(parseRanges(SINCE_UNICODE_17)))
/** Ideographs that BERT surrounds with spaces. */
export const ideographs = lazy(
  () => new CharSet(parseRanges('4e00-9fff 3400-4dbf 20000-2a6df 2a700-2b73f 2b740-2b81f 2b920-2ceaf f900-faff 2f800-2fa1f')),
)
/**
 * Characters that no normalization form combines with preceding ones: all but those whose decomposition begins with a
 * mark, a Hangul vowel or final, or a Kirat Rai vowel sign.
 */
export const normalizationStarts = lazy(() =>
  CharSet.matching({
    test: (character: string) => !/^[\p{M}\u1160-\u11ff\u{16d63}-\u{16d6a}]/u.test(character.normalize('NFKD')),
  }),
)
