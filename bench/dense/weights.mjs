/*
 * A dense transformer of random weights, of the llama architecture and of the size of models/novels-10m: what baselines
 * run that cannot run ours. Its vocabulary is a placeholder; only token ids are used. Each file format of this folder
 * writes the same numbers.
 */
import { BYTES, SPECIAL } from '../lib/gguf.mjs'
import { uniform } from '../lib/recipe.mjs'

export const dense = { vocabulary: 4096, dim: 256, layers: 6, heads: 4, dimHead: 64, hidden: 1376, normEpsilon: 1e-5, rotaryBase: 10000 }

/** [name as llama.cpp has it, inputs, outputs] of a matrix, [name, length] of a vector, in the order of their seeds. */
function parameters() {
  const { vocabulary, dim, layers, heads, dimHead, hidden } = dense
  const inner = heads * dimHead
  return [
    ['token_embd', dim, vocabulary],
    ...Array.from({ length: layers }, (_, layer) => [
      [`blk.${layer}.attn_norm`, dim],
      [`blk.${layer}.attn_q`, dim, inner],
      [`blk.${layer}.attn_k`, dim, inner],
      [`blk.${layer}.attn_v`, dim, inner],
      [`blk.${layer}.attn_output`, inner, dim],
      [`blk.${layer}.ffn_norm`, dim],
      [`blk.${layer}.ffn_gate`, dim, hidden],
      [`blk.${layer}.ffn_up`, dim, hidden],
      [`blk.${layer}.ffn_down`, hidden, dim],
    ]).flat(),
    ['output_norm', dim],
    ['output', dim, vocabulary],
  ]
}

const product = (sizes) => sizes.reduce((length, size) => length * size, 1)

export const numParameters = () => parameters().reduce((sum, [, ...shape]) => sum + product(shape), 0)

/**
 * Makes each parameter in turn. Vectors, which scale norms, are ones.
 * @returns name, shape ([inputs, outputs], or [length]) and values, a matrix's (outputs, inputs), row-major
 */
export function* weights() {
  for (const [index, [name, ...shape]] of parameters().entries()) {
    const length = product(shape)
    const values = shape.length === 1 ? new Float32Array(length).fill(1) : uniform(length, 100 + index, Math.sqrt(3 / shape[0]))
    // Bytes beyond ASCII never win, so that what such a model writes is valid UTF-8: wllama fails on other text.
    if (name === 'output') values.fill(0, (SPECIAL.length + 128) * dense.dim, (SPECIAL.length + BYTES) * dense.dim)
    yield { name, shape, values }
  }
}

/** Token ids of a prompt, none of them special. */
export const prompt = (length) => Array.from({ length }, (_, i) => 300 + ((i * 7919) % 3500))
