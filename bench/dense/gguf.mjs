/*
 * Writes the dense transformer for llama.cpp and wllama.
 */
import { F32, U32, writeGguf } from '../lib/gguf.mjs'
import { dense, weights } from './weights.mjs'

/** @param format 'f32' or 'q8_0'; vectors are float32 in both */
export function writeDenseGguf(file, format) {
  const { vocabulary, dim, layers, heads, dimHead, hidden, normEpsilon, rotaryBase } = dense
  const sizes = [
    ['block_count', U32, layers],
    ['feed_forward_length', U32, hidden],
    ['attention.head_count', U32, heads],
    ['attention.head_count_kv', U32, heads],
    ['attention.layer_norm_rms_epsilon', F32, normEpsilon],
    ['rope.dimension_count', U32, dimHead],
    ['rope.freq_base', F32, rotaryBase],
  ]
  const tensors = Array.from(weights(), ({ name, ...tensor }) => ({ ...tensor, name: `${name}.weight`, isMatrix: tensor.shape.length > 1 }))
  writeGguf(file, { architecture: 'llama', vocabulary, dim, sizes, tensors }, format)
}
