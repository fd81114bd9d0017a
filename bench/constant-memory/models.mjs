/*
 * Models whose state does not grow with the text, of random weights and about 10 million parameters each, as llama.cpp
 * runs them. Metadata and shapes are those that its src/models/<architecture>.cpp asks for (v0.5.0).
 */
import { BYTES, F32, SPECIAL, U32 } from '../lib/gguf.mjs'
import { uniform } from '../lib/recipe.mjs'

const VOCABULARY = 4096
const DIM = 256
const HEADS = 4
const DIM_HEAD = 64
/** Tokens that sliding-window attention sees: novels-10m's local window. */
export const WINDOW = 128

const product = (sizes) => sizes.reduce((length, size) => length * size, 1)

/** [name, shape, matrix?, values of a seed]. */
const matrix = (name, inputs, outputs) => ({
  name,
  shape: [inputs, outputs],
  isMatrix: true,
  fill: (seed, length) => uniform(length, seed, Math.sqrt(3 / inputs)),
})
const constant = (name, shape, value) => ({ name, shape, isMatrix: false, fill: (_, length) => new Float32Array(length).fill(value) })
const random = (name, shape, scale, offset) => ({
  name,
  shape,
  isMatrix: false,
  fill: (seed, length) => uniform(length, seed, scale, offset),
})

const blocks = (count, block) => Array.from({ length: count }, (_, index) => block(`blk.${index}.`, index)).flat()

/** Embedding, head and the norm before it. */
const ends = [
  matrix('token_embd.weight', DIM, VOCABULARY),
  constant('output_norm.weight', [DIM], 1),
  matrix('output.weight', DIM, VOCABULARY),
]

/** Gemma 3, in which every sixth layer sees everything: five layers slide only. */
function slidingWindow() {
  const [layers, hidden] = [5, 1696]
  return {
    architecture: 'gemma3',
    sizes: [
      ['block_count', U32, layers],
      ['feed_forward_length', U32, hidden],
      ['attention.head_count', U32, HEADS],
      ['attention.head_count_kv', U32, HEADS],
      ['attention.key_length', U32, DIM_HEAD],
      ['attention.value_length', U32, DIM_HEAD],
      ['attention.layer_norm_rms_epsilon', F32, 1e-6],
      ['attention.sliding_window', U32, WINDOW],
      ['rope.freq_base', F32, 1e6],
    ],
    parameters: [
      ...ends,
      ...blocks(layers, (block) => [
        constant(`${block}attn_norm.weight`, [DIM], 1),
        ...['attn_q', 'attn_k', 'attn_v'].map((name) => matrix(`${block}${name}.weight`, DIM, HEADS * DIM_HEAD)),
        matrix(`${block}attn_output.weight`, HEADS * DIM_HEAD, DIM),
        ...['attn_q_norm', 'attn_k_norm'].map((name) => constant(`${block}${name}.weight`, [DIM_HEAD], 1)),
        ...['post_attention_norm', 'ffn_norm', 'post_ffw_norm'].map((name) => constant(`${block}${name}.weight`, [DIM], 1)),
        matrix(`${block}ffn_gate.weight`, DIM, hidden),
        matrix(`${block}ffn_up.weight`, DIM, hidden),
        matrix(`${block}ffn_down.weight`, hidden, DIM),
      ]),
    ],
  }
}

function rwkv7() {
  const [layers, hidden, decayRank, rateRank, valueRank, gateRank] = [8, 1024, 64, 64, 32, 128]
  const norm = (name) => [constant(`${name}.weight`, [DIM], 1), constant(`${name}.bias`, [DIM], 0)]
  return {
    architecture: 'rwkv7',
    sizes: [
      ['block_count', U32, layers],
      ['feed_forward_length', U32, hidden],
      ['attention.head_count', U32, 0],
      ['attention.layer_norm_epsilon', F32, 1e-5],
      ['wkv.head_size', U32, DIM_HEAD],
      ['attention.decay_lora_rank', U32, decayRank],
      ['attention.iclr_lora_rank', U32, rateRank],
      ['attention.value_residual_mix_lora_rank', U32, valueRank],
      ['attention.gate_lora_rank', U32, gateRank],
      ['token_shift_count', U32, 2],
    ],
    parameters: [
      ...ends,
      constant('output_norm.bias', [DIM], 0),
      ...norm('token_embd_norm'),
      ...blocks(layers, (block, index) => {
        // the first layer's values are what the later ones mix in; it has matrices of another rank in their place
        const mixRank = index > 0 ? valueRank : rateRank
        const low = (name, rank) => [
          matrix(`${block}time_mix_${name}1.weight`, DIM, rank),
          matrix(`${block}time_mix_${name}2.weight`, rank, DIM),
        ]
        const vector = (name, value) => constant(`${block}time_mix_${name}.weight`, [DIM], value)
        return [
          ...norm(`${block}attn_norm`),
          ...norm(`${block}attn_norm_2`),
          random(`${block}time_mix_w0.weight`, [DIM], 2, -2),
          ...low('w', decayRank),
          vector('a0', 0),
          ...low('a', rateRank),
          vector('v0', 0),
          ...low('v', mixRank),
          ...low('g', gateRank),
          random(`${block}time_mix_lerp_fused.weight`, [DIM, 1, 1, 6], 0.5, 0.5),
          vector('k_k', 0.85),
          vector('k_a', 1),
          vector('r_k', 0),
          ...['key', 'value', 'receptance', 'output'].map((name) => matrix(`${block}time_mix_${name}.weight`, DIM, DIM)),
          ...norm(`${block}time_mix_ln`),
          random(`${block}channel_mix_lerp_k.weight`, [DIM, 1, 1], 0.5, 0.5),
          matrix(`${block}channel_mix_key.weight`, DIM, hidden),
          matrix(`${block}channel_mix_value.weight`, hidden, DIM),
        ]
      }),
    ],
  }
}

function mamba2() {
  const [layers, inner, state, heads] = [17, 2 * DIM, 128, 8]
  const convolved = inner + 2 * state
  return {
    architecture: 'mamba2',
    sizes: [
      ['block_count', U32, layers],
      ['feed_forward_length', U32, 0],
      ['attention.head_count', U32, 0],
      ['attention.layer_norm_rms_epsilon', F32, 1e-5],
      ['ssm.conv_kernel', U32, 4],
      ['ssm.inner_size', U32, inner],
      ['ssm.state_size', U32, state],
      ['ssm.time_step_rank', U32, heads],
      ['ssm.group_count', U32, 1],
    ],
    parameters: [
      ...ends,
      ...blocks(layers, (block) => [
        constant(`${block}attn_norm.weight`, [DIM], 1),
        matrix(`${block}ssm_in.weight`, DIM, inner + convolved + heads),
        random(`${block}ssm_conv1d.weight`, [4, convolved], 0.5, 0),
        constant(`${block}ssm_conv1d.bias`, [convolved], 0),
        constant(`${block}ssm_dt.bias`, [heads], -4),
        constant(`${block}ssm_a`, [1, heads], -1),
        constant(`${block}ssm_d`, [1, heads], 1),
        constant(`${block}ssm_norm.weight`, [inner, 1], 1),
        matrix(`${block}ssm_out.weight`, inner, DIM),
      ]),
    ],
  }
}

const describe = ({ parameters, ...model }, index) => ({
  ...model,
  vocabulary: VOCABULARY,
  dim: DIM,
  numParameters: parameters.reduce((sum, { shape }) => sum + product(shape), 0),
  *tensors() {
    for (const [number, { name, shape, isMatrix, fill }] of parameters.entries()) {
      const values = fill(1000 * (index + 1) + number, product(shape))
      // Bytes beyond ASCII never win, so that what such a model writes is valid UTF-8: wllama fails on other text.
      if (name === 'output.weight') values.fill(0, (SPECIAL.length + 128) * DIM, (SPECIAL.length + BYTES) * DIM)
      yield { name, shape, isMatrix, values }
    }
  },
})

/** By the name in tables; `tensors` is a function here, since they are made anew for every file. */
export const models = Object.fromEntries(
  Object.entries({ 'sliding window': slidingWindow(), 'RWKV-7': rwkv7(), 'Mamba-2': mamba2() }).map(([name, model], index) => [
    name,
    describe(model, index),
  ]),
)
