import { attend, linear, rmsNorm, rotate, scale, toRows, type Matrix, type Vector } from './arithmetic.js'
import type { ResolvedOptions } from './options.js'
import { parameter, parameterRows, type StateDict } from './parameters.js'
import type { Selected } from './selection.js'

/** One expert's attention from the queries of a window to a context; `index` is a position in the sequence. */
export type ExpertAttention = (queries: readonly Selected[], context: readonly Selected[]) => Matrix

/** What expert r makes of tokens, head by head, whichever windows use it. */
export interface ExpertProjections {
  readonly queryOf: (position: number) => Matrix
  readonly keyValueOf: (position: number) => { keys: Matrix; values: Matrix }
  readonly nullKeys: Matrix
  readonly nullValues: Matrix
}

/** An expert's part of a parameter: rows of `columns` values. */
function shareOf({ numExperts }: ResolvedOptions, parameters: StateDict, expert: number, name: string, columns: number): Matrix {
  const rows = parameterRows(parameters, name, columns)
  const each = rows.length / numExperts
  return rows.slice(expert * each, (expert + 1) * each)
}

/** @param angles each position's angles, head by head; null without `rotary_emb` */
export function expertProjections(
  options: ResolvedOptions,
  parameters: StateDict,
  expert: number,
  x: Matrix,
  angles: Matrix[] | null,
): ExpertProjections {
  const { dim, heads, dimHead, numExperts } = options
  const inner = heads * dimHead
  const qWeight = shareOf(options, parameters, expert, 'attn.to_q.weight', dim)
  const kvWeight = shareOf(options, parameters, expert, 'attn.to_kv.weight', dim)
  // null_kv is (2, g, h, 1, e): all experts' keys, then all experts' values.
  const [nullKeys, nullValues] = toRows(parameter(parameters, 'attn.null_kv'), numExperts * inner).map((experts) =>
    toRows(experts.subarray(expert * inner, (expert + 1) * inner), dimHead),
  )
  const normBy = (name: string) => {
    const gamma = options.prenorm ? parameterRows(parameters, name, dim)[expert]! : null
    return (token: Vector) => (gamma ? rmsNorm(token, gamma) : token)
  }
  const queryNorm = normBy('attn.norm.gamma')
  const contextNorm = normBy('attn.context_norm.gamma')
  const turned = (byHead: Matrix, position: number) => (angles ? byHead.map((head, i) => rotate(head, angles[position]![i]!)) : byHead)

  // A token's projections do not depend on the window that asks for them.
  const queryOf = remembered((position) => turned(toRows(linear(qWeight, queryNorm(x[position]!)), dimHead), position))
  const keyValueOf = remembered((position) => {
    const kv = toRows(linear(kvWeight, contextNorm(x[position]!)), dimHead)
    return { keys: turned(kv.slice(0, heads), position), values: kv.slice(heads) }
  })
  return { queryOf, keyValueOf, nullKeys: nullKeys!, nullValues: nullValues! }
}

/**
 * Expert r of SPEC section 5, for one sequence.
 * @param angles each position's angles, head by head; null without `rotary_emb`
 * @returns a function that gives one routed output, a Vector of dim, for each query
 */
export function expertAttention(
  options: ResolvedOptions,
  parameters: StateDict,
  expert: number,
  x: Matrix,
  angles: Matrix[] | null,
): ExpertAttention {
  const { heads, dimHead } = options
  const inner = heads * dimHead
  const outWeight = shareOf(options, parameters, expert, 'attn.to_out.weight', inner)
  const { queryOf, keyValueOf, nullKeys, nullValues } = expertProjections(options, parameters, expert, x, angles)

  return (queries, context) =>
    queries.map((query) => {
      const attended = new Float64Array(inner)
      for (let head = 0; head < heads; head++) {
        const keys = [nullKeys[head]!, ...context.map(({ index }) => keyValueOf(index).keys[head]!)]
        const values = [nullValues[head]!, ...context.map(({ index, score }) => scale(keyValueOf(index).values[head]!, score))]
        attended.set(attend(queryOf(query.index)[head]!, keys, values), head * dimHead)
      }
      return scale(linear(outWeight, attended), query.score)
    })
}

function remembered<T>(compute: (position: number) => T): (position: number) => T {
  const known = new Map<number, T>()
  return (position) => {
    let value = known.get(position)
    if (value === undefined) {
      value = compute(position)
      known.set(position, value)
    }
    return value
  }
}
