import { CharSet, codePointBefore, widthAt } from '../char-set.js'
import type { Component } from '../component.js'
import type { StepBudget } from '../step-budget.js'
import { firstOf, lookBehindOf } from './analyze-pattern.js'
import { wordSet } from './character-classes.js'
import { ASSERTIONS, compilePattern, Op, UNBOUNDED } from './compile-pattern.js'
import { type PatternNode, PatternError } from './pattern-node.js'
import { literal, parsePattern } from './parse-pattern.js'

/** The range of a match. */
export interface Match {
  readonly start: number
  readonly end: number
}

/** On the stack: preceded by the number of characters that a lazy run may still take. */
const LAZY = -2
/**
 * A regular expression that finds what Oniguruma finds, by backtracking over a program and counting every step. It also
 * records whether it looked at the end of the text: if not, more text cannot change the result, which makes streaming
 * exact.
 */
export class Pattern {
  private readonly program: readonly number[]
  private readonly sets: readonly CharSet[]
  /** Characters that a match may begin with; undefined if it may be empty. */
  private readonly first: CharSet | undefined
  /** Whether a match may be empty. */
  readonly mayBeEmpty: boolean
  /** Number of characters before a match that affect it. */
  readonly lookBehind: number
  /** Alternatives still to be tried: an instruction, the lowest position, a position. */
  private stack = new Int32Array(96)
  private sawEnd = false
  private text = ''
  private steps = 0
  private budget: StepBudget | undefined

  private constructor(
    node: PatternNode,
    private readonly what: string,
  ) {
    this.lookBehind = lookBehindOf(node)
    const { words, sets: members } = compilePattern(node)
    this.program = words
    this.sets = members
    const { sets, mayBeEmpty } = firstOf(node)
    this.mayBeEmpty = mayBeEmpty
    this.first = mayBeEmpty ? undefined : new CharSet((codePoint) => sets.some((set) => set.has(codePoint)))
  }

  /**
   * Reads the field `pattern` of a component: { String } or { Regex }.
   * @throws RoutedAttentionError `BAD_FILE` for an invalid or empty pattern; `UNSUPPORTED` for one that is not
   * supported
   */
  static of(component: Component): Pattern {
    const pattern = component.child('pattern')
    try {
      if (pattern.value('String') !== undefined) {
        const text = pattern.string('String')
        if (text === '') throw new PatternError('the pattern is empty, which matches everywhere', true)
        return new Pattern(literal(text), component.name)
      }
      const text = pattern.string('Regex')
      if (text === '') throw new PatternError('the pattern is empty, which matches everywhere', true)
      return new Pattern(parsePattern(text), component.name)
    } catch (error) {
      if (!(error instanceof PatternError)) throw error
      throw error.isBroken
        ? component.unfit('pattern', `a regular expression (${error.message})`, pattern.value('Regex'))
        : component.unsupported(`cannot be used: ${error.message}`)
    }
  }

  static parse(pattern: string, what: string): Pattern {
    return new Pattern(parsePattern(pattern), what)
  }

  /**
   * The first match from a position on.
   * @param isWhole whether the text ends where the string does
   * @returns the match; undefined if there is none; a number if more text could change the answer: nothing is final
   * from that position on
   * @throws RoutedAttentionError `UNSUPPORTED` if it takes too many steps
   */
  find(text: string, from: number, isWhole: boolean, budget: StepBudget): Match | undefined | number {
    this.text = text
    this.budget = budget
    const { first } = this
    for (let start = from; start <= text.length; start++) {
      if (first !== undefined) {
        while (start < text.length && !first.has(text.codePointAt(start)!)) start += widthAt(text, start)
        if (start >= text.length) return isWhole ? undefined : text.length
      }
      this.sawEnd = false
      const end = this.run(0, start, 0)
      this.settle()
      if (this.sawEnd && !isWhole) return start
      if (end !== -1) return { start, end }
      if (start < text.length) start += widthAt(text, start) - 1
    }
    return isWhole ? undefined : text.length
  }

  /** Reports the steps spent. */
  private settle(): void {
    const { steps } = this
    this.steps = 0
    this.budget!.spend(steps, this.what)
  }

  /** @returns the end of the match, or -1 */
  private run(begin: number, from: number, base: number): number {
    const { program, sets, text } = this
    let at = begin
    let place = from
    let top = base
    for (;;) {
      if (++this.steps > 1_000_000) this.settle()
      let isAlive = true
      switch (program[at]) {
        case Op.Match:
          return place
        case Op.Set:
          if (place < text.length) {
            const codePoint = text.codePointAt(place)!
            isAlive = sets[program[at + 1]!]!.has(codePoint)
            place += codePoint > 0xffff ? 2 : 1
          } else {
            this.sawEnd = true
            isAlive = false
          }
          at += 2
          break
        case Op.Jump:
          at = program[at + 1]!
          break
        case Op.Fork:
          top = this.save(top, program[at + 2]!, -1, place)
          at = program[at + 1]!
          break
        case Op.Greedy:
        case Op.Possessive: {
          const least = this.skip(sets[program[at + 1]!]!, place, program[at + 2]!)
          if (least === -1) {
            isAlive = false
            break
          }
          const most = program[at + 3]!
          const end = this.skipAll(sets[program[at + 1]!]!, least, most === UNBOUNDED ? Infinity : most - program[at + 2]!)
          if (program[at] === Op.Greedy && end > least) top = this.save(top, at + 4, least, end)
          place = end
          at += 4
          break
        }
        case Op.Lazy: {
          const least = this.skip(sets[program[at + 1]!]!, place, program[at + 2]!)
          if (least === -1) {
            isAlive = false
            break
          }
          place = least
          if (program[at + 3]! > program[at + 2]!) top = this.save(top, at, LAZY - (program[at + 3]! - program[at + 2]!), place)
          at += 4
          break
        }
        case Op.Assert:
          isAlive = this.holds(program[at + 1]!, place)
          at += 2
          break
        case Op.Look: {
          const start = this.stepBack(place, program[at + 3]!)
          const isFound = start !== -1 && this.run(at + 4, start, top) !== -1
          isAlive = isFound !== (program[at + 2] === 1)
          at = program[at + 1]!
          break
        }
        case Op.Atomic: {
          const goOn = program[at + 1]!
          place = this.run(at + 2, place, top)
          isAlive = place !== -1
          at = goOn
          break
        }
      }
      // The last remaining alternative.
      while (!isAlive) {
        if (top === base) return -1
        top -= 3
        at = this.stack[top]!
        const limit = this.stack[top + 1]!
        place = this.stack[top + 2]!
        isAlive = true
        if (limit >= 0) {
          // A greedy run gives back one character.
          place -= codePointBefore(text, place)! > 0xffff ? 2 : 1
          if (place > limit) top = this.save(top, at, limit, place)
        } else if (limit < LAZY) {
          // A lazy run takes one more character.
          place = this.skip(sets[program[at + 1]!]!, place, 1)
          isAlive = place !== -1
          if (isAlive && limit + 1 < LAZY) top = this.save(top, at, limit + 1, place)
          at += 4
        }
      }
    }
  }

  private save(top: number, at: number, limit: number, place: number): number {
    if (top + 3 > this.stack.length) {
      const larger = new Int32Array(this.stack.length * 2)
      larger.set(this.stack)
      this.stack = larger
    }
    this.stack[top] = at
    this.stack[top + 1] = limit
    this.stack[top + 2] = place
    return top + 3
  }

  /** @returns the position after `count` characters of a set, or -1 */
  private skip(set: CharSet, from: number, count: number): number {
    let place = from
    for (let i = 0; i < count; i++) {
      if (place >= this.text.length) {
        this.sawEnd = true
        return -1
      }
      const codePoint = this.text.codePointAt(place)!
      if (!set.has(codePoint)) return -1
      place += codePoint > 0xffff ? 2 : 1
      this.steps++
    }
    return place
  }

  private skipAll(set: CharSet, from: number, most: number): number {
    const { text } = this
    let place = from
    let taken = 0
    while (taken < most) {
      if (place >= text.length) {
        this.sawEnd = true
        break
      }
      const codePoint = text.codePointAt(place)!
      if (!set.has(codePoint)) break
      place += codePoint > 0xffff ? 2 : 1
      taken++
    }
    this.steps += taken
    return place
  }

  private stepBack(from: number, count: number): number {
    let place = from
    for (let i = 0; i < count; i++) {
      const before = codePointBefore(this.text, place)
      if (before === undefined) return -1
      place -= before > 0xffff ? 2 : 1
    }
    return place
  }

  private holds(assertion: number, place: number): boolean {
    const { text } = this
    const isEnd = place >= text.length
    const isLastNewline = place === text.length - 1 && text[place] === '\n'
    switch (ASSERTIONS[assertion]) {
      case 'word boundary':
      case 'no word boundary': {
        const before = codePointBefore(text, place)
        if (isEnd) this.sawEnd = true
        const isBoundary = (before !== undefined && wordSet().has(before)) !== (!isEnd && wordSet().has(text.codePointAt(place)!))
        return isBoundary === (ASSERTIONS[assertion] === 'word boundary')
      }
      case 'line begin':
        if (place === 0) return true
        if (isEnd) this.sawEnd = true
        return text[place - 1] === '\n' && !isEnd
      case 'line end':
        if (isEnd) this.sawEnd = true
        return isEnd || text[place] === '\n'
      case 'text begin':
        return place === 0
      case 'text end':
        if (isEnd) this.sawEnd = true
        return isEnd
      case 'last line end':
        if (isEnd || isLastNewline) this.sawEnd = true
        return isEnd || isLastNewline
      default:
        return false
    }
  }
}
