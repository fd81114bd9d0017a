import { type CharSet, codePointBefore, widthAt } from './char-set.js'
import type { Match, Pattern } from './pattern/pattern.js'
import { checkHeld, type EncodingContext, type Stage, type TextSink } from './stage.js'

/** Receives a text split into matches and the text between them, each in one or more parts. */
export interface SegmentSink {
  begin(isMatch: boolean): void
  part(text: string): void
  /** Ends the text. */
  end(): void
}

export const BEHAVIORS = ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'] as const
export type Behavior = (typeof BEHAVIORS)[number]

/** Combines segments into pieces. */
export function intoPieces(behavior: Behavior, next: TextSink): SegmentSink {
  let hasPiece = false
  let wasMatch = false
  let isRemoved = false
  const joins = (isMatch: boolean): boolean => {
    switch (behavior) {
      case 'MergedWithPrevious':
        return isMatch && !wasMatch
      case 'MergedWithNext':
        return wasMatch && !isMatch
      case 'Contiguous':
        return isMatch === wasMatch
      default:
        return false
    }
  }
  return {
    begin(isMatch) {
      if (hasPiece && !joins(isMatch)) {
        next.push('', true)
        hasPiece = false
      }
      isRemoved = isMatch && behavior === 'Removed'
      if (!isRemoved) hasPiece = true
      wasMatch = isMatch
    },
    part(text) {
      if (!isRemoved) next.push(text, false)
    },
    end() {
      next.push('', true)
      hasPiece = false
      wasMatch = false
    },
  }
}

/** Splits at the characters of a set, each of which is a match. */
export function splitAtCharacters(set: CharSet, behavior: Behavior): Stage {
  return (next) => {
    const segments = intoPieces(behavior, next)
    let isBetween = false
    return {
      push(text, isEnd) {
        let start = 0
        for (let at = 0; at < text.length;) {
          const codePoint = text.codePointAt(at)!
          const width = codePoint > 0xffff ? 2 : 1
          if (set.has(codePoint)) {
            if (at > start) between(text.slice(start, at))
            isBetween = false
            segments.begin(true)
            segments.part(text.slice(at, at + width))
            start = at + width
          }
          at += width
        }
        if (text.length > start) between(start === 0 ? text : text.slice(start))
        if (!isEnd) return
        segments.end()
        isBetween = false
      },
    }

    function between(text: string): void {
      if (!isBetween) segments.begin(false)
      isBetween = true
      segments.part(text)
    }
  }
}

/** Splits at the matches of a pattern. */
export function splitAtMatches(pattern: Pattern, behavior: Behavior, isInverted: boolean): Stage {
  return (next, context) => {
    const segments = intoPieces(behavior, next)
    return new PatternSegments(pattern, context, {
      begin: (isMatch) => segments.begin(isMatch !== isInverted),
      part: (text) => segments.part(text),
      end: () => segments.end(),
    })
  }
}

/** Finds the matches of a pattern in pieces that arrive in parts. */
export class PatternSegments implements TextSink {
  private buffer = ''
  /** Where the search continues; what precedes it has not been emitted yet. */
  private from = 0
  private given = 0
  private lastEnd = -1
  private isBetween = false
  /**
   * A search that reached the end of the text waits until there is twice as much, so that small parts cost no more than
   * large ones.
   */
  private enough = 0

  constructor(
    private readonly pattern: Pattern,
    private readonly context: EncodingContext,
    private readonly segments: SegmentSink,
  ) {}

  push(text: string, isEnd: boolean): void {
    this.buffer = this.buffer === '' ? text : this.buffer + text
    if (!isEnd && this.buffer.length < this.enough) return
    this.search(isEnd)
    if (isEnd) {
      if (this.given < this.buffer.length) this.between(this.buffer.length)
      this.segments.end()
      this.buffer = ''
      this.from = this.given = this.enough = 0
      this.lastEnd = -1
      this.isBetween = false
    }
  }

  private search(isWhole: boolean): void {
    const { buffer } = this
    if (buffer === '') return
    while (this.from <= buffer.length) {
      const found = this.pattern.find(buffer, this.from, isWhole, this.context.budget)
      if (found === undefined) return
      if (typeof found === 'number') {
        this.wait(found)
        return
      }
      this.take(found)
    }
  }

  /** An empty match right after another does not count. */
  private take({ start, end }: Match): void {
    const { buffer } = this
    if (start === end && this.lastEnd === end) {
      this.from += this.from < buffer.length ? widthAt(buffer, this.from) : 1
      return
    }
    if (start > this.given) this.between(start)
    this.isBetween = false
    this.segments.begin(true)
    this.segments.part(buffer.slice(start, end))
    this.from = this.given = this.lastEnd = end
  }

  /** Emits text in which no match can begin, and keeps what a later search may look back at. */
  private wait(certain: number): void {
    if (certain > this.given) this.between(certain)
    checkHeld(this.buffer.length - certain, this.context)
    const held = this.buffer.length - certain
    let keep = certain
    // One character more than is looked at, since that position would count as the beginning of the text.
    for (let i = 0; i <= this.pattern.lookBehind; i++) {
      const before = codePointBefore(this.buffer, keep)
      if (before !== undefined) keep -= before > 0xffff ? 2 : 1
    }
    this.buffer = this.buffer.slice(keep)
    this.lastEnd -= keep
    this.from = this.given = certain - keep
    this.enough = this.buffer.length + held
  }

  private between(end: number): void {
    if (!this.isBetween) this.segments.begin(false)
    this.isBetween = true
    this.segments.part(this.buffer.slice(this.given, end))
    this.given = end
  }
}
