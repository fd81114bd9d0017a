import { CharSet, codePointBefore, widthAt } from './char-set.js'
import { type Assertion, literal, type PatternNode, parsePattern, PatternError, wordSet } from './pattern-syntax.js'
import type { Component } from './component.js'
import type { StepBudget } from './step-budget.js'

/** The range of a match. */
export interface Match {
  readonly start: number
  readonly end: number
}

const enum Op {
  Match,
  Set,
  Jump,
  /** Continues at the first operand, or at the second if that fails. */
  Fork,
  /** A repeated set: set, minimum, maximum, mode. */
  Greedy,
  Lazy,
  Possessive,
  Assert,
  /**
   * A separate program from the next instruction on: where to continue, whether it must not match, characters to step
   * back.
   */
  Look,
  Atomic,
}

/** Maximum number of instructions, with intervals expanded. */
const MAX_PROGRAM = 50_000
const UNBOUNDED = 2 ** 30
/** On the stack: preceded by the number of characters that a lazy run may still take. */
const LAZY = -2
const ASSERTIONS: readonly Assertion[] = [
  'word boundary',
  'no word boundary',
  'line begin',
  'line end',
  'text begin',
  'text end',
  'last line end',
]

/**
 * A regular expression that finds what Oniguruma finds, by backtracking over a program and counting every step. It also
 * records whether it looked at the end of the text: if not, more text cannot change the result, which makes streaming
 * exact.
 */
export class Pattern {
  private readonly program: number[] = []
  private readonly sets: CharSet[] = []
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
    this.compile(node)
    this.program.push(Op.Match)
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
        const isBoundary = (before !== undefined && words().has(before)) !== (!isEnd && words().has(text.codePointAt(place)!))
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

  private compile(node: PatternNode): void {
    const { program } = this
    if (program.length > MAX_PROGRAM) throw new PatternError('the pattern is too large when its intervals are written out', false)
    switch (node.kind) {
      case 'set':
        program.push(Op.Set, this.sets.push(node.set) - 1)
        return
      case 'sequence':
        for (const part of node.nodes) this.compile(part)
        return
      case 'alternatives': {
        const ends: number[] = []
        for (const [index, part] of node.nodes.entries()) {
          if (index === node.nodes.length - 1) this.compile(part)
          else {
            const fork = program.push(Op.Fork, 0, 0) - 3
            program[fork + 1] = program.length
            this.compile(part)
            ends.push(program.push(Op.Jump, 0) - 1)
            program[fork + 2] = program.length
          }
        }
        for (const end of ends) program[end] = program.length
        return
      }
      case 'repeat':
        this.compileRepeat(node)
        return
      case 'look': {
        const back = node.isBehind ? fixedLength(node.node) : 0
        const look = program.push(Op.Look, 0, node.isNegative ? 1 : 0, back) - 4
        if (node.isBehind && back === 0) throw new PatternError('the pattern looks back at nothing', false)
        this.compile(node.node)
        program.push(Op.Match)
        program[look + 1] = program.length
        return
      }
      case 'atomic': {
        const atomic = program.push(Op.Atomic, 0) - 2
        this.compile(node.node)
        program.push(Op.Match)
        program[atomic + 1] = program.length
        return
      }
      case 'assertion':
        program.push(Op.Assert, ASSERTIONS.indexOf(node.assertion))
    }
  }

  private compileRepeat(repeat: Extract<PatternNode, { kind: 'repeat' }>): void {
    const { program } = this
    const { node, min, max, mode } = repeat
    if (node.kind === 'set') {
      const op = mode === 'greedy' ? Op.Greedy : mode === 'lazy' ? Op.Lazy : Op.Possessive
      program.push(op, this.sets.push(node.set) - 1, min, max === Infinity ? UNBOUNDED : max)
      return
    }
    if (mode === 'possessive') {
      this.compile({ kind: 'atomic', node: { ...repeat, mode: 'greedy' } })
      return
    }
    const fork = (goOn: number | undefined): number => {
      const at = program.push(Op.Fork, 0, 0) - 3
      program[at + (mode === 'greedy' ? 1 : 2)] = goOn ?? program.length
      return at
    }
    for (let i = 0; i < min; i++) this.compile(node)
    if (max === Infinity) {
      if (firstOf(node).mayBeEmpty) throw new PatternError('the pattern repeats what may be empty', false)
      const loop = fork(undefined)
      this.compile(node)
      program.push(Op.Jump, loop)
      program[loop + (mode === 'greedy' ? 2 : 1)] = program.length
      return
    }
    const forks: number[] = []
    for (let i = min; i < max; i++) {
      forks.push(fork(undefined))
      this.compile(node)
    }
    for (const at of forks) program[at + (mode === 'greedy' ? 2 : 1)] = program.length
  }
}

let wordsOnce: CharSet | undefined
function words(): CharSet {
  return (wordsOnce ??= wordSet())
}

/** What a match of a node may begin with. */
function firstOf(node: PatternNode): { sets: CharSet[]; mayBeEmpty: boolean } {
  switch (node.kind) {
    case 'set':
      return { sets: [node.set], mayBeEmpty: false }
    case 'sequence': {
      const sets: CharSet[] = []
      for (const part of node.nodes) {
        const first = firstOf(part)
        sets.push(...first.sets)
        if (!first.mayBeEmpty) return { sets, mayBeEmpty: false }
      }
      return { sets, mayBeEmpty: true }
    }
    case 'alternatives': {
      const parts = node.nodes.map(firstOf)
      return { sets: parts.flatMap(({ sets }) => sets), mayBeEmpty: parts.some(({ mayBeEmpty }) => mayBeEmpty) }
    }
    case 'repeat': {
      const first = firstOf(node.node)
      return { sets: first.sets, mayBeEmpty: node.min === 0 || first.mayBeEmpty }
    }
    case 'atomic':
      return firstOf(node.node)
    case 'look':
    case 'assertion':
      return { sets: [], mayBeEmpty: true }
  }
}

function lookBehindOf(node: PatternNode): number {
  switch (node.kind) {
    case 'set':
      return 0
    case 'sequence':
    case 'alternatives':
      return node.nodes.reduce((most, part) => Math.max(most, lookBehindOf(part)), 0)
    case 'repeat':
    case 'atomic':
      return lookBehindOf(node.node)
    case 'look':
      return lookBehindOf(node.node) + (node.isBehind ? fixedLength(node.node) : 0)
    case 'assertion':
      return 1
  }
}

/** Length of a look-behind, in characters. */
function fixedLength(node: PatternNode): number {
  const length = (part: PatternNode): number => {
    switch (part.kind) {
      case 'set':
        return 1
      case 'sequence':
        return part.nodes.reduce((sum, item) => sum + length(item), 0)
      case 'alternatives': {
        const lengths = new Set(part.nodes.map(length))
        return lengths.size === 1 ? [...lengths][0]! : NaN
      }
      case 'repeat':
        return part.min === part.max ? part.min * length(part.node) : NaN
      case 'atomic':
        return length(part.node)
      case 'look':
      case 'assertion':
        return 0
    }
  }
  const found = length(node)
  if (!(found <= 1000)) throw new PatternError('the pattern looks back at texts of different lengths', false)
  return found
}
