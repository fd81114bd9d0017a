import { attend, layerNorm, linear, positionAngles, rotate, toRows, type Matrix } from './arithmetic.js'
import type { ResolvedOptions } from './options.js'
import { parameter, parameterRows, type StateDict } from './parameters.js'

/** A token's queries, keys and values, head by head; queries and keys turned by the token's position. */
export interface LocalProjection {
  readonly q: Matrix
  readonly k: Matrix
  readonly v: Matrix
}

/** Those of each token of a sequence. */
export function localProjections(options: ResolvedOptions, parameters: StateDict, x: Matrix): LocalProjection[] {
  const { dim, heads, dimHead } = options
  const qkvWeight = parameterRows(parameters, 'local_attn.to_qkv.weight', dim)
  let normed = x
  if (options.prenorm) {
    const weight = parameter(parameters, 'local_attn.norm.weight')
    const bias = parameter(parameters, 'local_attn.norm.bias')
    normed = x.map((token) => layerNorm(token, weight, bias))
  }
  return normed.map((token, position) => {
    const qkv = toRows(linear(qkvWeight, token), dimHead)
    const angles = positionAngles(position, dimHead)
    return {
      q: qkv.slice(0, heads).map((head) => rotate(head, angles)),
      k: qkv.slice(heads, 2 * heads).map((head) => rotate(head, angles)),
      v: qkv.slice(2 * heads),
    }
  })
}

/**
 * Causal attention over a sliding window of W earlier positions and the token's own, for one sequence (SPEC section 2).
 */
export function localAttention(options: ResolvedOptions, parameters: StateDict, x: Matrix): Matrix {
  const { heads, dimHead, localAttnWindowSize } = options
  const inner = heads * dimHead
  const outWeight = parameterRows(parameters, 'local_attn.to_out.weight', inner)
  const tokens = localProjections(options, parameters, x)
  return tokens.map(({ q }, position) => {
    const seen = tokens.slice(Math.max(0, position - localAttnWindowSize), position + 1)
    const attended = new Float64Array(inner)
    for (let head = 0; head < heads; head++) {
      const keys = seen.map((token) => token.k[head]!)
      const values = seen.map((token) => token.v[head]!)
      attended.set(attend(q[head]!, keys, values), head * dimHead)
    }
    return linear(outWeight, attended)
  })
}
