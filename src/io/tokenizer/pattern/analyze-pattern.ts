import type { CharSet } from '../char-set.js'
import { PatternError, type PatternNode } from './pattern-node.js'

/** What a match of a node may begin with. */
export function firstOf(node: PatternNode): { sets: CharSet[]; mayBeEmpty: boolean } {
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

/** Number of characters before a match that affect it. */
export function lookBehindOf(node: PatternNode): number {
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
export function fixedLength(node: PatternNode): number {
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
