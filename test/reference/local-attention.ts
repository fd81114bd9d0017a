import { attend, layerNorm, linear, positionAngles, rotate, toRows, type Matrix } from './arithmetic.js'
import type { ResolvedOptions } from './options.js'
import { parameter, parameterRows, type StateDict } from './parameters.js'

/**
 * Causal attention over a sliding window of W earlier positions and the token's own, for one sequence (SPEC section 2).
 */
export function localAttention(options: ResolvedOptions, parameters: StateDict, x: Matrix): Matrix {
  const { dim, heads, dimHead, localAttnWindowSize } = options
  const inner = heads * dimHead
  const qkvWeight = parameterRows(parameters, 'local_attn.to_qkv.weight', dim)
  const outWeight = parameterRows(parameters, 'local_attn.to_out.weight', inner)

  let normed = x
  if (options.prenorm) {
    const weight = parameter(parameters, 'local_attn.norm.weight')
    const bias = parameter(parameters, 'local_attn.norm.bias')
    normed = x.map((token) => layerNorm(token, weight, bias))
  }
  // Each token's q, k and v, head by head; q and k turned by the token's position.
  const tokens = normed.map((token, position) => {
    const qkv = toRows(linear(qkvWeight, token), dimHead)
    const angles = positionAngles(position, dimHead)
    return {
      q: qkv.slice(0, heads).map((head) => rotate(head, angles)),
      k: qkv.slice(heads, 2 * heads).map((head) => rotate(head, angles)),
      v: qkv.slice(2 * heads),
    }
  })

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
