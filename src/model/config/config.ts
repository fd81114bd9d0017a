import { countRouted, type LayerConfig, type ModelConfig, type SelectionMethod } from '../../plan/config.js'
import { describe, RoutedAttentionError } from '../../errors.js'
import { checkOptions } from '../../options.js'
import { badConfig, ConfigFields } from './config-fields.js'
import { checkConfigKeys, isStated, snakeCase } from './config-keys.js'

/**
 * Options of a layer: those of PyTorch's `MixtureOfAutoregressiveAttention` in camelCase, and `selection` and `causal`
 * beside them. Sizes are integers up to 2^24; a layer may have up to 2^30 parameters, what 4 GiB of WebAssembly memory
 * hold.
 */
export interface LayerOptions {
  /** Channels of a token, d. */
  dim: number
  /** Tokens of a window that an expert takes as queries; at least 1, the window's length or more means all. */
  numRoutedQueries: number
  /**
   * Tokens of all earlier windows that an expert takes as keys and values; at least 1, more than there are means all.
   */
  numRoutedKeyValues: number
  /** W: local attention sees a token and the W before it; from 0. */
  localAttnWindowSize: number
  /** Tokens of a routed window; null or absent: `localAttnWindowSize`, which must then be at least 1. */
  routedWindowSize?: number | null
  /** Experts, up to 4,096; default 2. */
  numExperts?: number
  /** Channels of a head, even; default 64. */
  dimHead?: number
  /** Heads; default 8. */
  heads?: number
  /** From 0 to 1; default 0. Accepted without effect: this is inference. */
  dropout?: number
  /** Normalize the inputs of both attentions; default true. */
  prenorm?: boolean
  /** Divide the sum by the number of experts plus one; default false. */
  averageRouted?: boolean
  /** Route by cosine similarity rather than by the dot product; default false. */
  cosineSimRouting?: boolean
  /** What a cosine similarity is multiplied by, finite; default 8. */
  cosineSimScale?: number
  /** Passes of the coordinate descent, from 1 to 4,096; default 20. */
  nIters?: number
  /** What k is multiplied by in the coordinate descent, above 0; default 9/8. */
  fetchKRatio?: number
  /** Smallest temperature of the coordinate descent, above 0; default 0.03. */
  eps?: number
  /** First temperature of the coordinate descent, above 0; default 4. */
  epsInit?: number
  /** What the temperature is multiplied by after each pass, above 0 and up to 1; default 0.7. */
  epsDecay?: number
  /** Let selected tokens carry a score of 1 rather than the router's; default true. */
  straightThrough?: boolean
  /** Accepted without effect: it chooses an implementation in PyTorch. */
  useTriton?: boolean | null
  /** Accepted without effect: it chooses an implementation in PyTorch. */
  flashAttn?: boolean | null
  /** Default 'coordinate-descent'. */
  selection?: SelectionMethod
  /**
   * Choose queries without looking ahead; default false. Requires selection 'top-k', `straightThrough` and no
   * `averageRouted`.
   */
  causal?: boolean
}

export type { LayerConfig, ModelConfig }

/** Keys of config.json that it does not state, each with the default that was taken. */
export type AssumedDefaults = Readonly<Record<string, number | boolean | string | null>>

/** Far above any real model, and so low that a sum of two or a product of two stays a safe integer. */
const MAX_SIZE = 2 ** 24
const MAX_DEPTH = 4096
const MAX_EXPERTS = 4096
const MAX_ITERATIONS = 4096
/** float32 values in the 4 GiB that a 32-bit WebAssembly memory addresses. */
const MAX_PARAMETERS = 2 ** 30

/** Typed by the interface, so that a new option cannot be forgotten here. */
const OPTION_NAMES = Object.keys({
  dim: 0,
  numRoutedQueries: 0,
  numRoutedKeyValues: 0,
  localAttnWindowSize: 0,
  routedWindowSize: 0,
  numExperts: 0,
  dimHead: 0,
  heads: 0,
  dropout: 0,
  prenorm: 0,
  averageRouted: 0,
  cosineSimRouting: 0,
  cosineSimScale: 0,
  nIters: 0,
  fetchKRatio: 0,
  eps: 0,
  epsInit: 0,
  epsDecay: 0,
  straightThrough: 0,
  useTriton: 0,
  flashAttn: 0,
  selection: 0,
  causal: 0,
} satisfies Record<keyof LayerOptions, 0>)

/**
 * Checks a layer's options and fills in the defaults.
 * @throws RoutedAttentionError `BAD_CONFIG` for an unknown, missing or unfit option; `BAD_ARGUMENT` when there is no
 * options object
 */
export function resolveLayerOptions(options: LayerOptions): LayerConfig {
  if (!isRecord(options))
    throw new RoutedAttentionError('BAD_ARGUMENT', `layer options must be an object such as { dim: 512, … }, got ${describe(options)}`)
  checkOptions('a layer', options, OPTION_NAMES, 'BAD_CONFIG')
  const config = readLayer(new ConfigFields(options, 'option ', (name) => name))
  checkParameterCount(localParameterCount(config) + routedParameterCount(config), 'these options')
  return config
}

/**
 * Reads a config.json. Its names are PyTorch's, `seq_len` is `max_positions`; `model_type` and names unknown here are
 * ignored, unless they are nearly known.
 * @param json the parsed file
 * @throws RoutedAttentionError `BAD_CONFIG` for a missing or unfit value, or a name that is nearly another, whatever
 * the file holds
 */
export function parseModelConfig(json: unknown): ModelConfig {
  if (!isRecord(json)) throw badConfig(`config.json must hold an object, got ${describe(json)}`)
  checkConfigKeys(json, OPTION_NAMES.map(snakeCase))
  const fields = new ConfigFields(json, 'config.json: ', snakeCase)
  const layer = readLayer(fields)
  const depth = fields.integer('depth', 1, MAX_DEPTH)
  const routedLayers = readRoutedLayers(fields, json.routed_layers, depth)
  const config: ModelConfig = {
    layer,
    numTokens: fields.integer('numTokens', 1, MAX_SIZE),
    depth,
    feedForwardMultiplier: fields.integer('ffMult', 1, MAX_SIZE, 4),
    routedRotaryEmb: fields.boolean('routedRotaryEmb', false),
    maxPositions: readMaxPositions(fields),
    ...(routedLayers && { routedLayers }),
  }
  const inner = layer.dim * config.feedForwardMultiplier
  const block = localParameterCount(layer) + 2 * inner * layer.dim + inner + 2 * layer.dim
  const tables = (2 * config.numTokens + (config.maxPositions ?? 0) + 1) * layer.dim + config.numTokens
  checkParameterCount(depth * block + countRouted(config) * routedParameterCount(layer) + tables, 'config.json')
  return config
}

/**
 * What a config.json leaves unsaid: its keys, with the defaults that were taken. (Of options without effect here there
 * is nothing to say.)
 * @param config what `parseModelConfig` made of `json`
 */
export function assumedDefaults(config: ModelConfig, json: unknown): AssumedDefaults {
  const stated = json as Record<string, unknown>
  const values = {
    ...Object.fromEntries(Object.entries(config.layer).map(([name, value]) => [snakeCase(name), value as number | boolean | string])),
    ff_mult: config.feedForwardMultiplier,
    routed_rotary_emb: config.routedRotaryEmb,
    ...(isStated(stated, 'seq_len') ? {} : { max_positions: config.maxPositions }),
  }
  return Object.freeze(Object.fromEntries(Object.entries(values).filter(([key]) => !isStated(stated, key))))
}

/**
 * A checkpoint with the buffer of rotary embeddings was most likely trained with them; without them it computes
 * something else, and nobody would know.
 * @param names of its tensors
 * @throws RoutedAttentionError `BAD_CONFIG` where there is that buffer and config.json does not say what it is for
 */
export function checkRotaryIsStated(assumed: AssumedDefaults, names: Iterable<string>): void {
  if (!Object.hasOwn(assumed, 'routed_rotary_emb')) return
  for (const name of names) {
    if (!name.endsWith('rotary_emb.inv_freq')) continue
    throw badConfig(
      `config.json does not state routed_rotary_emb, and the checkpoint carries ${name}: write "routed_rotary_emb": true, which the published ` +
        `Transformer's default is, or false where it was trained without`,
    )
  }
}

/** `max_positions`, which the published `Transformer` calls `seq_len`. */
function readMaxPositions(fields: ConfigFields): number | null {
  const read = (key: string) => (fields.isNullOrAbsent(key) ? null : fields.integer(key, 1, MAX_SIZE))
  const [maxPositions, seqLen] = [read('maxPositions'), read('seqLen')]
  if (!fields.isStated('seqLen')) return maxPositions
  if (fields.isStated('maxPositions') && maxPositions !== seqLen) {
    throw badConfig(
      `${fields.name('maxPositions')} and seq_len are two names of one thing, the rows of the position table; got ${maxPositions} and ${seqLen}`,
    )
  }
  return seqLen
}

/** `routed_layers`: undefined where every block is routed. */
function readRoutedLayers(fields: ConfigFields, value: unknown, depth: number): number[] | undefined {
  if (fields.isNullOrAbsent('routedLayers')) return undefined
  const isBlock = (block: unknown) => Number.isInteger(block) && (block as number) >= 0 && (block as number) < depth
  if (!Array.isArray(value) || !value.every(isBlock) || new Set(value).size !== value.length) {
    const got = Array.isArray(value) ? `[${value.slice(0, 20).map(describe).join(', ')}${value.length > 20 ? ', …' : ''}]` : describe(value)
    throw badConfig(`${fields.name('routedLayers')} must be null or a list of different blocks from 0 to ${depth - 1}, got ${got}`)
  }
  const blocks = [...(value as number[])].sort((a, b) => a - b)
  return blocks.length === depth ? undefined : blocks
}

function readLayer(fields: ConfigFields): LayerConfig {
  const localAttnWindowSize = fields.integer('localAttnWindowSize', 0, MAX_SIZE)
  const windowsDiffer = !fields.isNullOrAbsent('routedWindowSize')
  if (!windowsDiffer && localAttnWindowSize === 0) {
    throw badConfig(`${fields.name('routedWindowSize')} must be given, at least 1, when ${fields.name('localAttnWindowSize')} is 0`)
  }
  fields.number('dropout', 'from 0 to 1', (value) => value >= 0 && value <= 1, 0)
  for (const ignored of ['useTriton', 'flashAttn']) if (!fields.isNullOrAbsent(ignored)) fields.boolean(ignored, false)
  const config: LayerConfig = {
    dim: fields.integer('dim', 1, MAX_SIZE),
    numRoutedQueries: fields.integer('numRoutedQueries', 1, MAX_SIZE),
    numRoutedKeyValues: fields.integer('numRoutedKeyValues', 1, MAX_SIZE),
    localAttnWindowSize,
    routedWindowSize: windowsDiffer ? fields.integer('routedWindowSize', 1, MAX_SIZE) : localAttnWindowSize,
    numExperts: fields.integer('numExperts', 1, MAX_EXPERTS, 2),
    dimHead: fields.integer('dimHead', 2, MAX_SIZE, 64),
    heads: fields.integer('heads', 1, MAX_SIZE, 8),
    prenorm: fields.boolean('prenorm', true),
    averageRouted: fields.boolean('averageRouted', false),
    cosineSimRouting: fields.boolean('cosineSimRouting', false),
    cosineSimScale: fields.number('cosineSimScale', 'finite', () => true, 8),
    nIters: fields.integer('nIters', 1, MAX_ITERATIONS, 20),
    fetchKRatio: fields.number('fetchKRatio', 'above 0', isPositive, 9 / 8),
    eps: fields.number('eps', 'above 0', isPositive, 0.03),
    epsInit: fields.number('epsInit', 'above 0', isPositive, 4),
    epsDecay: fields.number('epsDecay', 'above 0 and up to 1', (value) => isPositive(value) && value <= 1, 0.7),
    straightThrough: fields.boolean('straightThrough', true),
    selection: fields.choice('selection', ['coordinate-descent', 'top-k'], 'coordinate-descent'),
    causal: fields.boolean('causal', false),
  }
  if (config.dimHead % 2 !== 0) throw badConfig(`${fields.name('dimHead')} must be even, for rotary pairs; got ${config.dimHead}`)
  if (config.causal && (config.selection !== 'top-k' || !config.straightThrough || config.averageRouted)) {
    const required = `${fields.name('selection')} 'top-k', ${fields.name('straightThrough')} true and ${fields.name('averageRouted')} false`
    throw badConfig(`${fields.name('causal')} requires ${required}, since anything else lets later tokens decide`)
  }
  return config
}

/** Sum of the sizes in SPEC section 1, of local attention and of the routed part. */
function localParameterCount({ dim, heads, dimHead, prenorm }: LayerConfig): number {
  return 4 * heads * dimHead * dim + (prenorm ? 2 * dim : 0)
}

function routedParameterCount({ dim, heads, dimHead, numExperts, prenorm }: LayerConfig): number {
  const inner = heads * dimHead
  return numExperts * (4 * inner * dim + 3 * dim + 2 * inner + (prenorm ? 2 * dim : 0))
}

function checkParameterCount(count: number, what: string): void {
  if (count > MAX_PARAMETERS) {
    throw badConfig(
      `${what} ask for ${count} parameters, more than the ${MAX_PARAMETERS} that fit in WebAssembly memory; make the sizes smaller`,
    )
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isPositive(value: number): boolean {
  return Math.fround(value) > 0
}
