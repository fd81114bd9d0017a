import { dot, norm, type Vector } from './arithmetic.js'
import type { ResolvedOptions } from './options.js'

export type Schedule = Pick<ResolvedOptions, 'nIters' | 'fetchKRatio' | 'eps' | 'epsInit' | 'epsDecay'>
export type SelectionRule = Schedule & Pick<ResolvedOptions, 'selection' | 'straightThrough'>

/** A candidate that was taken, with the score it carries. */
export interface Selected {
  index: number
  score: number
}

/** How similar a token is to an expert's routing token (SPEC section 4). */
export function routerScore(
  x: Vector,
  routingToken: Vector,
  options: Pick<ResolvedOptions, 'cosineSimRouting' | 'cosineSimScale'>,
): number {
  if (!options.cosineSimRouting) return dot(x, routingToken)
  return (options.cosineSimScale * dot(x, routingToken)) / (Math.max(norm(x), 1e-12) * Math.max(norm(routingToken), 1e-12))
}

/**
 * Coordinate descent over one row of candidates (SPEC section 4); `nIters` is at least 1.
 * @param visible which candidates are not masked
 * @returns `cut`, c of the spec (−∞ where masked), which is what selection compares; and `scores`, exp(c / eps_last), 0
 * where masked
 */
export function coordinateDescent(
  routerScores: ArrayLike<number>,
  visible: ArrayLike<boolean>,
  k: number,
  schedule: Schedule,
): { cut: Float64Array; scores: Float64Array } {
  const length = routerScores.length
  const effectiveK = Math.min(k * schedule.fetchKRatio, length)
  const unmasked = indicesWhere(length, (i) => visible[i]!)
  let eps = Math.max(schedule.epsInit, schedule.eps)
  let a = 0
  let b = Float64Array.from(routerScores, (s) => -s)
  for (let t = 0; t < schedule.nIters; t++) {
    a = eps * (Math.log(effectiveK) - logSumExp(unmasked.map((i) => (routerScores[i]! + b[i]!) / eps)))
    b = Float64Array.from(routerScores, (s) => -Math.max(s + a, 0))
    eps = Math.max(eps * schedule.epsDecay, schedule.eps)
  }
  const cut = Float64Array.from(routerScores, (s, i) => (visible[i] ? Math.min(s + a, 0) : -Infinity))
  return { cut, scores: cut.map((c) => Math.exp(c / eps)) }
}

/** The k largest of the unmasked values, ties to the lower index; all of them if there are fewer. Ascending indices. */
export function largest(values: ArrayLike<number>, visible: ArrayLike<boolean>, k: number): number[] {
  const candidates = indicesWhere(values.length, (i) => visible[i]!)
  candidates.sort((i, j) => values[j]! - values[i]! || i - j)
  return candidates.slice(0, k).sort((i, j) => i - j)
}

/**
 * The k candidates that a row selects, ascending, with the scores they carry (SPEC section 4). L is the row's length,
 * masked entries included.
 */
export function select(routerScores: ArrayLike<number>, visible: ArrayLike<boolean>, k: number, rule: SelectionRule): Selected[] {
  const length = routerScores.length
  if (length <= k) return indicesWhere(length, (i) => visible[i]!).map((index) => ({ index, score: 1 }))
  const { cut, scores } = coordinateDescent(routerScores, visible, k, rule)
  const indices = largest(rule.selection === 'top-k' ? routerScores : cut, visible, k)
  return indices.map((index) => ({ index, score: rule.straightThrough ? 1 : scores[index]! }))
}

/**
 * Queries without looking ahead: a token is one if fewer than k earlier tokens of its window have a router score ≥ its
 * own.
 */
export function selectCausally(routerScores: ArrayLike<number>, k: number): Selected[] {
  const isQuery = (t: number) => indicesWhere(t, (earlier) => routerScores[earlier]! >= routerScores[t]!).length < k
  return indicesWhere(routerScores.length, isQuery).map((index) => ({ index, score: 1 }))
}

function logSumExp(values: readonly number[]): number {
  const maximum = Math.max(...values)
  return maximum + Math.log(values.reduce((sum, value) => sum + Math.exp(value - maximum), 0))
}

function indicesWhere(length: number, holds: (index: number) => boolean): number[] {
  return Array.from({ length }, (_, index) => index).filter(holds)
}
