import { describe, RoutedAttentionError } from '../../errors.js'
import type { ModelTokenizer } from '../../io/tokenizer.js'
import { createIncrementalDecoder } from './text-decoder.js'

/** Decodes tokens to text as they arrive. */
export interface TextStream {
  /** Whether a stop string has occurred; there is no text after that. */
  readonly isFinished: boolean
  /** Whether text is being held back, which `flush` would return. */
  readonly isHolding: boolean
  /**
   * Adds the next token.
   * @returns the text that became final: whole characters, and nothing that might be the beginning of a stop string
   * @throws RoutedAttentionError `BAD_ARGUMENT` for an id beyond the vocabulary
   */
  push(id: number): string
  /** Ends the text and returns what was held back, with U+FFFD for an unfinished character. */
  flush(): string
}

/**
 * The returned pieces together are what the tokens add to the text of `before` (`createIncrementalDecoder`), up to the
 * stop string that is completed first.
 * @param stop strings that end the text and are not part of it; only searched for after `before`
 * @param before the preceding tokens, or the last of them
 * @throws RoutedAttentionError `BAD_ARGUMENT` unless each stop string is non-empty and well-formed
 */
export function createTextStream(tokenizer: ModelTokenizer, stop: readonly string[] = [], before: ArrayLike<number> = []): TextStream {
  checkStopStrings(stop)
  const decoder = createIncrementalDecoder(tokenizer, before)
  let held = ''
  let isFinished = false

  const release = (text: string, isLast: boolean): string => {
    held += text
    const end = earliestStop(held, stop)
    isFinished = end !== undefined
    const certain = held.slice(0, end ?? (isLast ? held.length : held.length - beginningOfStop(held, stop)))
    held = isFinished ? '' : held.slice(certain.length)
    return certain
  }

  return {
    get isFinished() {
      return isFinished
    },
    get isHolding() {
      return !isFinished && (held !== '' || decoder.isHolding)
    },
    push: (id) => (isFinished ? '' : release(decoder.push(id), false)),
    flush: () => (isFinished ? '' : release(decoder.flush(), true)),
  }
}

/** Index of the stop string that is completed first, or of the longest such if there are several. */
function earliestStop(text: string, stop: readonly string[]): number | undefined {
  let first: { begin: number; end: number } | undefined
  for (const string of stop) {
    const begin = text.indexOf(string)
    const end = begin + string.length
    if (begin !== -1 && (first === undefined || end < first.end || (end === first.end && begin < first.begin))) first = { begin, end }
  }
  return first?.begin
}

/** Length of the longest suffix of a text that is a prefix of a stop string. */
function beginningOfStop(text: string, stop: readonly string[]): number {
  let longest = 0
  for (const string of stop) {
    for (let length = Math.min(string.length - 1, text.length); length > longest; length--) {
      if (text.endsWith(string.slice(0, length))) longest = length
    }
  }
  return longest
}

function checkStopStrings(stop: unknown): void {
  if (!Array.isArray(stop)) throw new RoutedAttentionError('BAD_ARGUMENT', `stop must be an array of strings, got ${describe(stop)}`)
  for (const string of stop as unknown[]) {
    if (typeof string !== 'string' || string === '' || /[\ud800-\udfff]/u.test(string)) {
      throw new RoutedAttentionError('BAD_ARGUMENT', `stop must hold non-empty, well-formed strings, got ${describe(string)}`)
    }
  }
}
