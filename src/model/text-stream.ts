import { describe, RoutedAttentionError } from '../errors.js'
import type { Tokenizer } from '../io/tokenizer.js'

/** Turns tokens into text as they come. */
export interface TextStream {
  /** Whether a stop string occurred; from then on there is no more text. */
  readonly isFinished: boolean
  /**
   * Takes the next token.
   * @returns the text that is now certain: whole characters, and nothing that a stop string may begin with
   * @throws RoutedAttentionError `BAD_ARGUMENT` for an id beyond the vocabulary
   */
  push(id: number): string
  /** Ends the text: what was held back, with U+FFFD for an unfinished character. */
  flush(): string
}

/**
 * All pieces together are `tokenizer.decode` of all ids, or the part before the stop string that is complete first.
 * That holds for byte-level vocabularies; others are decoded a few tokens at a time, which agrees where a token's text
 * depends on its neighbours only.
 * @param stop strings that end the text and are not part of it
 * @throws RoutedAttentionError `BAD_ARGUMENT` unless each of them is a non-empty, well-formed string
 */
export function createTextStream(tokenizer: Tokenizer, stop: readonly string[] = []): TextStream {
  checkStopStrings(stop)
  const decoder = new IncrementalDecoder(tokenizer)
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
    push: (id) => (isFinished ? '' : release(decoder.push(id), false)),
    flush: () => (isFinished ? '' : release(decoder.flush(), true)),
  }
}

/** Tokens decoded one by one, cutting no character in two. */
class IncrementalDecoder {
  private readonly utf8 = new TextDecoder('utf-8', { ignoreBOM: true })
  /** Without bytes: the tokens that the next text depends on, and the text of those among them that has been given out. */
  private window: number[] = []
  private given = ''
  private settled = 0

  constructor(private readonly tokenizer: Tokenizer) {}

  push(id: number): string {
    const bytes = this.tokenizer.tokenBytes(id)
    if (bytes !== undefined) return this.utf8.decode(bytes, { stream: true })
    this.window.push(id)
    const text = this.tokenizer.decode(this.window)
    if (text.length <= this.given.length || text.endsWith('\ufffd')) return ''
    const news = text.slice(this.given.length)
    // The tokens that brought this text stay, as the neighbours of those to come.
    this.window = this.window.slice(this.settled)
    this.settled = this.window.length
    this.given = this.tokenizer.decode(this.window)
    return news
  }

  flush(): string {
    const rest = this.window.length > 0 ? this.tokenizer.decode(this.window).slice(this.given.length) : ''
    this.window = []
    this.settled = 0
    this.given = ''
    return this.utf8.decode() + rest
  }
}

/** Where the stop string begins that is complete first, and of those the longest. */
function earliestStop(text: string, stop: readonly string[]): number | undefined {
  let first: { begin: number; end: number } | undefined
  for (const string of stop) {
    const begin = text.indexOf(string)
    const end = begin + string.length
    if (begin !== -1 && (first === undefined || end < first.end || (end === first.end && begin < first.begin))) first = { begin, end }
  }
  return first?.begin
}

/** Length of the longest end of a text that a stop string begins with. */
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
