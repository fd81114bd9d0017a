import { built } from './paths.mjs'

/** Values that are drawn; larger parameters repeat them. */
const DRAWN = 1 << 16

/** 1, and the exponents of values from 1/64 to 1/32 and from 1/2 to 1, in each format of 16 bits. */
const FORMATS = {
  F16: { one: 0x3c00, small: 0x2400, large: 0x3800, fractions: 1024 },
  BF16: { one: 0x3f80, small: 0x3c80, large: 0x3f00, fractions: 128 },
}

/** The files of a causal model with random 16-bit weights, for `LanguageModel.load`. */
export async function randomModel(config, dtype = 'F16') {
  const { one, small, large, fractions } = FORMATS[dtype]
  const { modelParameters, parseModelConfig } = await import(built('internals.mjs'))
  const full = { num_tokens: 4096, dim_head: 64, ff_mult: 4, local_attn_window_size: 128, num_routed_queries: 32, ...config }
  Object.assign(full, { num_routed_key_values: 128, cosine_sim_routing: true, selection: 'top-k', causal: true })
  const header = {}
  let offset = 0
  for (const { name, shape } of modelParameters(parseModelConfig(full))) {
    header[name] = { dtype, shape, data_offsets: [offset, (offset += 2 * shape.reduce((product, length) => product * length, 1))] }
  }
  const json = new TextEncoder().encode(JSON.stringify(header).padEnd((JSON.stringify(header).length + 7) & ~7))
  const bytes = new Uint8Array(8 + json.length + offset)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true)
  bytes.set(json, 8)
  const start = 8 + json.length
  // either sign; from 1/64 to 1/32 for matrices, from 1/2 to 1 for embeddings
  const draw = (exponent) =>
    Uint16Array.from({ length: DRAWN }, () => exponent + Math.floor(Math.random() * fractions) + 0x8000 * (Math.random() < 0.5))
  const [weights, embeddings] = [draw(small), draw(large)]
  for (const [name, { data_offsets }] of Object.entries(header)) {
    const [from, end] = data_offsets.map((at) => (start + at) / 2)
    const values = new Uint16Array(bytes.buffer).subarray(from, end)
    if (/norm\.weight$|gamma$/.test(name)) values.fill(one)
    else
      for (let at = 0; at < values.length; at += DRAWN)
        values.set((name.includes('_emb') ? embeddings : weights).subarray(0, values.length - at), at)
  }
  return new Map([
    ['config.json', new TextEncoder().encode(JSON.stringify(full))],
    ['model.safetensors', bytes],
  ])
}
