import type { CharSet } from '../char-set.js'
import { firstOf, fixedLength } from './analyze-pattern.js'
import { type Assertion, PatternError, type PatternNode } from './pattern-node.js'

/** Instructions of a compiled pattern, each followed by its operands. */
export const enum Op {
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
/** The maximum of a repeat without one. */
export const UNBOUNDED = 2 ** 30
/** Assertions by their number in a program. */
export const ASSERTIONS: readonly Assertion[] = [
  'word boundary',
  'no word boundary',
  'line begin',
  'line end',
  'text begin',
  'text end',
  'last line end',
]

/** A pattern as instructions, and the sets that they refer to by index. */
export interface PatternProgram {
  readonly words: readonly number[]
  readonly sets: readonly CharSet[]
}

/** @throws PatternError */
export function compilePattern(node: PatternNode): PatternProgram {
  const compiler = new PatternCompiler()
  compiler.compile(node)
  compiler.program.push(Op.Match)
  return { words: compiler.program, sets: compiler.sets }
}

class PatternCompiler {
  readonly program: number[] = []
  readonly sets: CharSet[] = []

  compile(node: PatternNode): void {
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
