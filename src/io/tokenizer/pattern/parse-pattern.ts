import { CharSet } from '../char-set.js'
import { complement, namedClass, posixClass, property, single, wordSet } from './character-classes.js'
import { type Assertion, PatternError, type PatternNode, type RepeatMode } from './pattern-node.js'

/*
 * Regular expressions in Oniguruma's syntax, as used by Hugging Face's library, to the extent that published tokenizers
 * use it. Other syntax is rejected.
 */

const MAX_LENGTH = 20_000
const MAX_DEPTH = 100

export function parsePattern(pattern: string): PatternNode {
  if (pattern.length > MAX_LENGTH) throw new PatternError(`a pattern of ${pattern.length} characters is longer than ${MAX_LENGTH}`, false)
  return new PatternParser(pattern).parse()
}

export function literal(text: string): PatternNode {
  return { kind: 'sequence', nodes: Array.from(text, (character) => ({ kind: 'set', set: single(character.codePointAt(0)!) })) }
}

const ASSERTIONS: Record<string, Assertion> = {
  b: 'word boundary',
  B: 'no word boundary',
  A: 'text begin',
  z: 'text end',
  Z: 'last line end',
}
const CONTROLS: Record<string, number> = { t: 9, n: 10, v: 11, f: 12, r: 13, a: 7, e: 27 }
class PatternParser {
  private at = 0
  private depth = 0
  private ignoresCase = false

  constructor(private readonly pattern: string) {}

  parse(): PatternNode {
    const node = this.alternatives()
    if (this.at < this.pattern.length) throw this.broken('an unmatched )')
    return node
  }

  private alternatives(): PatternNode {
    if (++this.depth > MAX_DEPTH) throw new PatternError(`groups nested more than ${MAX_DEPTH} deep`, false)
    const nodes = [this.sequence()]
    while (this.accept('|')) nodes.push(this.sequence())
    this.depth--
    return nodes.length === 1 ? nodes[0]! : { kind: 'alternatives', nodes }
  }

  private sequence(): PatternNode {
    const nodes: PatternNode[] = []
    while (this.at < this.pattern.length && !this.sees('|') && !this.sees(')')) {
      const node = this.atom()
      nodes.push(this.repeated(node))
    }
    return nodes.length === 1 ? nodes[0]! : { kind: 'sequence', nodes }
  }

  private repeated(atom: PatternNode): PatternNode {
    let node = atom
    for (let count = 0; ; count++) {
      const bounds = this.bounds()
      if (bounds === undefined) return node
      if (count > 0) throw this.unsupported('a repeat of a repeat')
      if (node.kind === 'assertion' || node.kind === 'look') throw this.unsupported('a repeated assertion')
      const [min, max, isInterval] = bounds
      // After an interval, + is a repeat of the repeat, not possessive.
      const mode: RepeatMode = this.accept('?') ? 'lazy' : !isInterval && this.accept('+') ? 'possessive' : 'greedy'
      if (isInterval && this.sees('+')) throw this.unsupported('+ after an interval')
      if (isInterval && mode === 'lazy' && min === max) throw this.unsupported('{n}?')
      node = { kind: 'repeat', node, min, max, mode }
    }
  }

  private bounds(): [number, number, boolean] | undefined {
    if (this.accept('*')) return [0, Infinity, false]
    if (this.accept('+')) return [1, Infinity, false]
    if (this.accept('?')) return [0, 1, false]
    const interval = this.take(/\{(\d{0,5})(?:(,)(\d{0,5}))?\}/y)
    if (interval === undefined || (interval[1] === '' && (interval[3] ?? '') === '')) {
      if (interval !== undefined) throw this.unsupported('an empty interval')
      return undefined
    }
    const min = Number(interval[1])
    const max = interval[2] === undefined ? min : interval[3] === '' ? Infinity : Number(interval[3])
    if (max < min) throw this.unsupported('an interval whose end is before its beginning')
    return [min, max, true]
  }

  private atom(): PatternNode {
    if (this.accept('(')) return this.group()
    if (this.accept('[')) return { kind: 'set', set: this.bracket() }
    if (this.accept('.')) return { kind: 'set', set: new CharSet((c) => c !== 10) }
    if (this.accept('^')) return { kind: 'assertion', assertion: 'line begin' }
    if (this.accept('$')) return { kind: 'assertion', assertion: 'line end' }
    if (this.accept('\\')) {
      const assertion = ASSERTIONS[this.pattern[this.at] ?? '']
      if (assertion !== undefined) {
        this.at++
        return { kind: 'assertion', assertion }
      }
      const escaped = this.escape()
      return typeof escaped === 'number' ? this.character(escaped) : { kind: 'set', set: escaped }
    }
    if (/[*+?]/.test(this.pattern[this.at]!)) throw this.broken('a repeat of nothing')
    return this.character(this.codePoint())
  }

  private group(): PatternNode {
    const before = this.ignoresCase
    let wrap = (node: PatternNode): PatternNode => node
    if (this.accept('?:')) wrap = (node) => node
    else if (this.accept('?>')) wrap = (node) => ({ kind: 'atomic', node })
    else if (this.accept('?=')) wrap = (node) => ({ kind: 'look', node, isNegative: false, isBehind: false })
    else if (this.accept('?!')) wrap = (node) => ({ kind: 'look', node, isNegative: true, isBehind: false })
    else if (this.accept('?<=')) wrap = (node) => ({ kind: 'look', node, isNegative: false, isBehind: true })
    else if (this.accept('?<!')) wrap = (node) => ({ kind: 'look', node, isNegative: true, isBehind: true })
    else if (this.accept('?i:')) this.ignoresCase = true
    else if (this.accept('?-i:')) this.ignoresCase = false
    else if (this.sees('?')) throw this.unsupported('a group of this kind')
    const node = this.alternatives()
    if (!this.accept(')')) throw this.broken('a group without its end')
    this.ignoresCase = before
    return wrap(node)
  }

  private character(codePoint: number): PatternNode {
    return { kind: 'set', set: this.ignoresCase ? this.anyCase(single(codePoint), codePoint, codePoint) : single(codePoint) }
  }

  /** Also matches the other case; only for ASCII, since beyond it some characters equal several. */
  private anyCase(set: CharSet, first: number, last: number): CharSet {
    if (last > 0x7f) throw this.unsupported('(?i: with other characters than ASCII')
    // 'ß' equals 'ss', and ligatures equal their components.
    if (this.pattern.length > 1 && /ss|f[fil]|st/i.test(this.pattern))
      throw this.unsupported('(?i: with letters that ß or a ligature stands for')
    const pattern = new RegExp(`^[${escapeForClass(first)}-${escapeForClass(last)}]$`, 'iu')
    return new CharSet((codePoint) => set.has(codePoint) || pattern.test(String.fromCodePoint(codePoint)))
  }

  /** After a backslash: a character, or a set of characters. */
  private escape(): number | CharSet {
    const letter = this.pattern[this.at]
    if (letter === undefined) throw this.broken('a \\ at its end')
    this.at++
    switch (letter) {
      case 's':
        return CharSet.matching(/\p{White_Space}/u)
      case 'S':
        return CharSet.matching(/\P{White_Space}/u)
      case 'd':
        return property(/\p{Nd}/u)
      case 'D':
        return complement(property(/\p{Nd}/u))
      case 'w':
        return wordSet()
      case 'W':
        return complement(wordSet())
      case 'h':
        return CharSet.matching(/[0-9A-Fa-f]/u)
      case 'H':
        return CharSet.matching(/[^0-9A-Fa-f]/u)
      case 'p':
      case 'P': {
        const named = this.take(/\{(\^?)([A-Za-z_ -]+)\}/y)
        if (named === undefined) throw this.unsupported(`\\${letter} of this form`)
        const set = this.classNamed(named[2]!)
        return (letter === 'P') !== (named[1] === '^') ? complement(set) : set
      }
      case 'x':
      case 'u': {
        const digits = this.take(letter === 'u' ? /([0-9A-Fa-f]{4})/y : /\{([0-9A-Fa-f]{1,6})\}|([0-7][0-9A-Fa-f])(?![0-9A-Fa-f])/y)
        const codePoint = digits === undefined ? NaN : parseInt(digits[1] ?? digits[2]!, 16)
        if (!(codePoint <= 0x10ffff)) throw this.unsupported(`\\${letter} of this form`)
        return codePoint
      }
    }
    const control = CONTROLS[letter]
    if (control !== undefined) return control
    if (/[0-9A-Za-z]/.test(letter)) throw this.unsupported(`\\${letter}`)
    this.at--
    return this.codePoint()
  }

  private classNamed(name: string): CharSet {
    const set = namedClass(name)
    if (set === undefined) throw this.unsupported(`the property ${name}`)
    return set
  }

  /** After a [: Oniguruma has nested sets, and && for intersections. */
  private bracket(): CharSet {
    if (++this.depth > MAX_DEPTH) throw new PatternError(`sets nested more than ${MAX_DEPTH} deep`, false)
    const isNegative = this.accept('^')
    let both: CharSet | undefined
    let members: CharSet[] = []
    const close = (): CharSet => {
      const union = members
      const set = new CharSet((codePoint) => union.some((member) => member.has(codePoint)))
      const left = both
      return left === undefined ? set : new CharSet((codePoint) => left.has(codePoint) && set.has(codePoint))
    }
    for (let isFirst = true; ; isFirst = false) {
      if (this.at >= this.pattern.length) throw this.broken('a set without its end')
      if (this.sees(']') && isFirst) throw this.unsupported('a set that begins with ]')
      if (this.accept(']')) break
      const posix = this.take(/\[:(\^?)([a-z]+):\]/y)
      if (posix !== undefined) {
        const set = posixClass(posix[2]!)
        if (set === undefined) throw this.unsupported(posix[0])
        members.push(posix[1] === '^' ? complement(set) : set)
      } else if (this.accept('[')) members.push(this.bracket())
      else if (this.accept('&&')) {
        both = close()
        members = []
      } else members.push(this.member())
    }
    this.depth--
    return isNegative ? complement(close()) : close()
  }

  /** A character, a range or a class within a set. */
  private member(): CharSet {
    const first = this.accept('\\') ? this.classEscape() : this.codePoint()
    if (typeof first !== 'number') {
      if (this.sees('-') && this.pattern[this.at + 1] !== ']') throw this.unsupported('a range that begins with a class')
      return first
    }
    let last = first
    if (this.sees('-') && this.pattern[this.at + 1] !== ']' && this.at + 1 < this.pattern.length) {
      this.at++
      if (this.sees('[') || this.sees('&&')) throw this.unsupported('a range that ends with a set')
      const end = this.accept('\\') ? this.classEscape() : this.codePoint()
      if (typeof end !== 'number') throw this.unsupported('a range that ends with a class')
      if (end < first) throw this.broken('a range whose end is before its beginning')
      last = end
    }
    const set = new CharSet((codePoint) => codePoint >= first && codePoint <= last)
    return this.ignoresCase ? this.anyCase(set, first, last) : set
  }

  private classEscape(): number | CharSet {
    if (!this.accept('b')) return this.escape()
    return 8
  }

  private codePoint(): number {
    const codePoint = this.pattern.codePointAt(this.at)!
    this.at += codePoint > 0xffff ? 2 : 1
    return codePoint
  }

  private sees(text: string): boolean {
    return this.pattern.startsWith(text, this.at)
  }

  private accept(text: string): boolean {
    const isThere = this.sees(text)
    if (isThere) this.at += text.length
    return isThere
  }

  private take(sticky: RegExp): RegExpExecArray | undefined {
    sticky.lastIndex = this.at
    const found = sticky.exec(this.pattern)
    if (found === null) return undefined
    this.at += found[0].length
    return found
  }

  private broken(what: string): PatternError {
    return new PatternError(`the pattern has ${what} at ${this.at}`, true)
  }

  private unsupported(what: string): PatternError {
    return new PatternError(`the pattern has ${what} at ${this.at}, which is not supported`, false)
  }
}

function escapeForClass(codePoint: number): string {
  return `\\u{${codePoint.toString(16)}}`
}
