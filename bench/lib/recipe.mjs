/*
 * The numbers of bench/reference-models: the same hash fills the layer's parameters and input there and here
 * (test/golden/README.md).
 */

/** Numbers that are uniform in ±scale around `offset`. @param {number} length @param {number} seed */
export function uniform(length, seed, scale = Math.sqrt(3), offset = 0) {
  const values = new Float32Array(length)
  for (let i = 0; i < length; i++) {
    let h = (i + Math.imul(seed, 0x9e3779b1)) >>> 0
    h ^= h >>> 16
    h = Math.imul(h, 0x85ebca6b) >>> 0
    h ^= h >>> 13
    h = Math.imul(h, 0xc2b2ae35) >>> 0
    h ^= h >>> 16
    values[i] = ((h >>> 8) * 2 ** -23 - 1) * scale + offset
  }
  return values
}

export const layerOptions = {
  dim: 256,
  heads: 4,
  dimHead: 64,
  localAttnWindowSize: 128,
  numRoutedQueries: 32,
  numRoutedKeyValues: 128,
  numExperts: 2,
  cosineSimRouting: true,
}

const shapes = {
  'attn.context_norm.gamma': [2, 256, 1],
  'attn.norm.gamma': [2, 256, 1],
  'attn.null_kv': [2, 2, 4, 1, 64],
  'attn.to_kv.weight': [1024, 256, 1],
  'attn.to_out.weight': [512, 256, 1],
  'attn.to_q.weight': [512, 256, 1],
  'key_value_router.routing_token': [2, 256],
  'local_attn.norm.bias': [256],
  'local_attn.norm.weight': [256],
  'local_attn.to_out.weight': [256, 256],
  'local_attn.to_qkv.weight': [768, 256],
  null_tokens: [2, 256],
  'query_router.routing_token': [2, 256],
}

/** [name, values, shape] of each parameter. */
export function layerParameters() {
  return Object.entries(shapes).map(([name, shape], i) => {
    const length = shape.reduce((product, size) => product * size, 1)
    let scale = Math.sqrt(3)
    let offset = 0
    if (/to_\w+\.weight$/.test(name)) scale /= Math.sqrt(shape[1] ?? 1)
    else if (/gamma$|norm\.weight$/.test(name)) [scale, offset] = [0.1, 1]
    else if (/bias$/.test(name)) scale = 0.1
    return [name, uniform(length, 9010 + i, scale, offset), shape]
  })
}

/** (1, n, 256), row-major. @param {number} n */
export const layerInput = (n) => uniform(n * layerOptions.dim, 9000)

/**
 * The least arithmetic of one forward: keys and values projected only of tokens that are ever chosen; a multiply and an
 * add are two.
 */
export const layerFlop = { 1024: 1016e6, 4096: 3742e6, 16384: 14351e6 }
