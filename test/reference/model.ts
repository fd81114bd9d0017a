import { add, fromRows, gelu, linear, positionAngles, rmsNorm, toRows, type Float64Values, type Matrix } from './arithmetic.js'
import { referenceLayer } from './layer.js'
import { localAttention } from './local-attention.js'
import { layerOptions, resolveOptions, type ForwardOptions, type LayerOptions } from './options.js'
import { parameter, parameterRows, parametersUnder, type StateDict } from './parameters.js'

/** A block, and what it is given. */
export interface ReferenceBlock {
  readonly options: LayerOptions
  readonly parameters: StateDict
  readonly isRouted: boolean
  readonly x: Matrix
  readonly forwardOptions: ForwardOptions
}

/**
 * The language model's forward over one sequence (SPEC section 7).
 * @param config what config.json holds
 * @param onBlock receives each block's options and parameters, the tokens it is given, and their angles if it rotates by
 *   them
 * @returns logits (tokens, V)
 */
export function referenceModel(
  config: Readonly<Record<string, unknown>>,
  parameters: StateDict,
  tokenIds: ArrayLike<number>,
  onBlock: (block: ReferenceBlock) => void = () => undefined,
): Float64Values {
  const { depth, num_tokens: vocabulary } = config as { depth: number; num_tokens: number }
  const options = layerOptions(config)
  const { dim, dimHead } = resolveOptions(options)
  const tokens = tokenIds.length
  const isRouted = (block: number) => !Array.isArray(config['routed_layers']) || config['routed_layers'].includes(block)
  const forwardOptions: ForwardOptions = config['routed_rotary_emb']
    ? {
        rotaryEmb: fromRows(
          Array.from({ length: tokens }, (_, t) => positionAngles(t, dimHead)),
          [tokens, dimHead],
        ),
      }
    : {}

  const embeddings = parameterRows(parameters, 'token_emb.weight', dim)
  let x = Array.from(tokenIds, (id) => embeddings[id]!)
  if (typeof config['max_positions'] === 'number') {
    const positions = parameterRows(parameters, 'pos_emb.weight', dim)
    x = x.map((token, position) => add(token, positions[position]!))
  }
  for (let block = 0; block < depth; block++) {
    const layer = parametersUnder(parameters, `layers.${block}.0.`)
    onBlock({ options, parameters: layer, isRouted: isRouted(block), x, forwardOptions })
    const attended = isRouted(block)
      ? toRows(referenceLayer(options, layer, fromRows(x, [1, tokens, dim]), forwardOptions).out.data, dim)
      : localAttention(resolveOptions(options), layer, x)
    x = x.map((token, t) => add(token, attended[t]!))
    const fed = feedForward(parametersUnder(parameters, `layers.${block}.1.`), x)
    x = x.map((token, t) => add(token, fed[t]!))
  }
  const gamma = parameter(parameters, 'to_logits.0.gamma')
  const weight = parameterRows(parameters, 'to_logits.1.weight', dim)
  const bias = parameter(parameters, 'to_logits.1.bias')
  const logits = x.map((token) => add(linear(weight, rmsNorm(token, gamma)), bias))
  return fromRows(logits, [tokens, vocabulary])
}

function feedForward(parameters: StateDict, x: Matrix): Matrix {
  const gamma = parameter(parameters, '0.gamma')
  const innerBias = parameter(parameters, '1.bias')
  const innerWeight = parameterRows(parameters, '1.weight', gamma.length)
  const outBias = parameter(parameters, '3.bias')
  const outWeight = parameterRows(parameters, '3.weight', innerBias.length)
  return x.map((token) => {
    const hidden = add(linear(innerWeight, rmsNorm(token, gamma)), innerBias).map(gelu)
    return add(linear(outWeight, hidden), outBias)
  })
}
