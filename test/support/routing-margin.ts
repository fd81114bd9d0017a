/**
 * Whether float32 must decide a call's routing as float64 does: no decision hangs on a difference that rounding may
 * reverse.
 */
import { routerScore, type StateDict, type Values } from '../reference/index.js'
import { toRows } from '../reference/arithmetic.js'
import { resolveOptions, type ForwardOptions, type LayerOptions, type ResolvedOptions } from '../reference/options.js'

/** Router scores up to 100 carry an error of about 1e-5 in float32, and so does the descent's threshold. */
const MARGIN = 2e-4

/**
 * Equal router scores are safe: tokens are equal, or dot products exact (test/support/arbitraries.ts), and ties have a
 * rule.
 */
export function isRoutingSafe(options: LayerOptions, parameters: StateDict, x: Values, forward: ForwardOptions = {}): boolean {
  const resolved = resolveOptions(options, forward)
  const { dim, routedWindowSize: window, numRoutedQueries, numRoutedKeyValues } = resolved
  const [batch, length] = x.shape as [number, number]
  const windows = Math.max(0, Math.ceil(length / window) - 1)
  const tokens = toRows(x.data, dim)
  // Cosines are rounded: they tie only for equal tokens, even if more are equal mathematically.
  const distinct = (row: Float64Array, s: number) => (resolved.cosineSimRouting ? s + fingerprint(row) : s)
  const routers = ['query_router', 'key_value_router'].map((name) => toRows(parameters.get(`${name}.routing_token`)!.data, dim))
  for (let b = 0; b < batch; b++) {
    const sequence = tokens.slice(b * length, (b + 1) * length)
    const [queries, keyValues] = routers.map((router) =>
      router.map((token) => sequence.map((row) => distinct(row, routerScore(row, token, resolved)))),
    )
    for (let j = 1; j <= windows; j++) {
      for (let expert = 0; expert < resolved.numExperts; expert++) {
        const own = queries![expert]!.slice(j * window, (j + 1) * window)
        const past = keyValues![expert]!.slice(0, j * window)
        if (resolved.causal ? !isApart(own) : !isSelectionSafe(own, window, numRoutedQueries, resolved)) return false
        if (!isSelectionSafe(past, windows * window, numRoutedKeyValues, resolved)) return false
      }
    }
  }
  return true
}

/** Far below the margin, and another for every token. */
function fingerprint(row: Float64Array): number {
  return row.reduce((sum, value, i) => sum + value * Math.sin(i + 1), 0) * 1e-9
}

/** @param length of the row, masked candidates included */
function isSelectionSafe(candidates: number[], length: number, k: number, options: ResolvedOptions): boolean {
  if (length <= k || candidates.length <= k) return true
  if (options.selection === 'top-k') return isCutSafe(candidates, k)
  const threshold = descend(candidates, Math.min(k * options.fetchKRatio, length), options)
  const above = candidates.filter((s) => s + threshold > MARGIN).length
  const maybeAbove = candidates.filter((s) => s + threshold > -MARGIN).length
  // More candidates reach 0 than are taken: the cut falls among them, by index, so that who reaches 0 must be sure.
  return maybeAbove > k ? above === maybeAbove : isCutSafe(candidates, k)
}

/** The scalar a that the coordinate descent ends with: candidates with s + a ≥ 0 reach 0 (SPEC section 4). */
function descend(candidates: number[], effectiveK: number, { nIters, eps, epsInit, epsDecay }: ResolvedOptions): number {
  let temperature = Math.max(epsInit, eps)
  let a = temperature * Math.log(effectiveK / candidates.length)
  for (let t = 1; t < nIters; t++) {
    temperature = Math.max(temperature * epsDecay, eps)
    const capped = candidates.map((s) => Math.min(s, -a) / temperature)
    const largest = Math.max(...capped)
    a = temperature * (Math.log(effectiveK) - largest - Math.log(capped.reduce((sum, c) => sum + Math.exp(c - largest), 0)))
  }
  return a
}

function isCutSafe(candidates: number[], k: number): boolean {
  const sorted = [...candidates].sort((a, b) => b - a)
  const last = sorted[k - 1]!
  const next = sorted[k]!
  if (last !== next) return last - next > MARGIN
  return sorted.every((s) => s === last || Math.abs(s - last) > MARGIN)
}

function isApart(values: number[]): boolean {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted.every((s, i) => i === 0 || s === sorted[i - 1] || s - sorted[i - 1]! > MARGIN)
}
