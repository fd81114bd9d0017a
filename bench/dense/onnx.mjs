/*
 * Writes the dense transformer as ONNX, for onnxruntime. Its attention is of the standard's operators: with
 * onnxruntime's own, GroupQueryAttention, version 1.30 in WebAssembly decodes as fast, and reads 2,048 tokens in chunks
 * of 512 at 86 a second rather than 510.
 */
import { writeFileSync } from 'node:fs'
import { FLOAT, INT64, MICROSOFT, OnnxGraph } from '../lib/onnx.mjs'
import { dense, weights } from './weights.mjs'

/** Names of one layer's cache, as an input and as an output: (1, heads, positions, dimHead) each. */
export const cacheNames = Array.from({ length: dense.layers }, (_, layer) =>
  ['key', 'value'].map((kind) => ({ past: `past.${layer}.${kind}`, present: `present.${layer}.${kind}` })),
).flat()

/** (outputs, inputs) to (inputs, outputs), row-major. */
function transposed(values, [inputs, outputs]) {
  const result = new Float32Array(values.length)
  for (let i = 0; i < inputs; i++) for (let j = 0; j < outputs; j++) result[i * outputs + j] = values[j * inputs + i]
  return result
}

/** (positions, dimHead / 2): a function of each pair's angle at each position. */
function rotaryTable(positions, of) {
  const pairs = dense.dimHead / 2
  const angle = (i) => Math.floor(i / pairs) * dense.rotaryBase ** (-(i % pairs) / pairs)
  return Float32Array.from({ length: positions * pairs }, (_, i) => of(angle(i)))
}

/**
 * A model with the inputs `ids` and `positions`, both (1, n), and the cache's; its outputs are `logits` (1, 1,
 * vocabulary) of the last id, and the cache's, with n positions more.
 * @param positions the most that there may be
 */
export function writeOnnx(file, positions) {
  const graph = new OnnxGraph()
  const parameter = parameters(graph)
  const linear = (x, name) => graph.apply('MatMul', [x, parameter.get(name)])
  const norm = (x, name) =>
    graph.apply('SimplifiedLayerNormalization', [x, parameter.get(name)], { attributes: { axis: 2, epsilon: dense.normEpsilon } })

  const ids = graph.input('ids', INT64, [1, 'n'])
  const attention = attentionOf(graph, linear, graph.input('positions', INT64, [1, 'n']), positions)
  let x = graph.apply('Gather', [parameter.get('token_embd'), ids])
  for (let layer = 0; layer < dense.layers; layer++) {
    const block = `blk.${layer}`
    x = graph.apply('Add', [x, attention(norm(x, `${block}.attn_norm`), layer)])
    const y = norm(x, `${block}.ffn_norm`)
    const gate = linear(y, `${block}.ffn_gate`)
    const opened = graph.apply('Mul', [graph.apply('Mul', [gate, graph.apply('Sigmoid', [gate])]), linear(y, `${block}.ffn_up`)])
    x = graph.apply('Add', [x, linear(opened, `${block}.ffn_down`)])
  }
  const last = graph.apply('Slice', [x, ...[-1n, 1n << 62n, 1n].map((value) => graph.constant(BigInt64Array.of(value), [1]))])
  graph.apply('MatMul', [norm(last, 'output_norm'), parameter.get('output')], { outputs: ['logits'] })
  graph.output('logits', FLOAT, [1, 1, dense.vocabulary])
  writeFileSync(file, graph.encode())
}

/** The weights as constants, by name: matrices (inputs, outputs), but the embedding (vocabulary, dim). */
function parameters(graph) {
  const named = new Map()
  for (const { name, shape, values } of weights()) {
    if (name === 'token_embd') named.set(name, graph.constant(values, shape.toReversed()))
    else named.set(name, graph.constant(shape.length === 2 ? transposed(values, shape) : values, shape))
  }
  return named
}

/** @returns a function that adds a layer's attention, from what is normalised to what is added to it */
function attentionOf(graph, linear, positionIds, positions) {
  const { heads, dimHead } = dense
  const reshape = (x, ...shape) => graph.apply('Reshape', [x, graph.constant(BigInt64Array.from(shape, BigInt), [shape.length])])
  const transpose = (x, ...perm) => graph.apply('Transpose', [x], { attributes: { perm } })
  const split = (x) => transpose(reshape(x, 1, -1, heads, dimHead), 0, 2, 1, 3)
  const tables = [Math.cos, Math.sin].map((of) => graph.constant(rotaryTable(positions, of), [positions, dimHead / 2]))
  const rotate = (x) => graph.apply('RotaryEmbedding', [x, positionIds, ...tables], { domain: MICROSOFT, attributes: { interleaved: 1 } })
  const append = (x, { past, present }) => {
    graph.input(past, FLOAT, [1, heads, 'past', dimHead])
    graph.output(present, FLOAT, [1, heads, 'present', dimHead])
    return graph.apply('Concat', [past, x], { attributes: { axis: 2 }, outputs: [present] })
  }

  // (n, present): 0 where a key is not later than a query
  const [zero, one] = [0n, 1n].map((value) => graph.constant(BigInt64Array.of(value)))
  const lastPosition = graph.apply('ReduceMax', [positionIds], { attributes: { keepdims: 0 } })
  const keys = graph.apply('Range', [zero, graph.apply('Add', [lastPosition, one]), one])
  const isEarlier = graph.apply('LessOrEqual', [keys, transpose(positionIds, 1, 0)])
  const mask = graph.apply('Where', [isEarlier, ...[0, -Infinity].map((value) => graph.constant(Float32Array.of(value)))])
  const scale = graph.constant(Float32Array.of(dimHead ** -0.5))

  return (x, layer) => {
    const [q, k, v] = ['q', 'k', 'v'].map((which) => split(linear(x, `blk.${layer}.attn_${which}`)))
    const [key, value] = cacheNames.slice(2 * layer, 2 * layer + 2)
    const products = graph.apply('MatMul', [rotate(q), transpose(append(rotate(k), key), 0, 1, 3, 2)])
    const scores = graph.apply('Add', [graph.apply('Mul', [products, scale]), mask])
    const shares = graph.apply('Softmax', [scores], { attributes: { axis: 3 } })
    const y = graph.apply('MatMul', [shares, append(v, value)])
    return linear(reshape(transpose(y, 0, 2, 1, 3), 1, -1, heads * dimHead), `blk.${layer}.attn_output`)
  }
}
