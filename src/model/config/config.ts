import type { LayerConfig, ModelConfig } from '../../plan/config.js'
import { layerParameterCount, modelParameterCount } from '../../plan/parameters.js'
import { describe, RoutedAttentionError } from '../../errors.js'
import { checkOptions } from '../../options.js'
import { readQuantizationConfig } from './quantization-config.js'
import { badConfig, ConfigFields } from './config-fields.js'
import { checkConfigKeys, configKey, isStated } from './config-keys.js'
import type { LayerOptions } from './layer-options.js'
import { LAYER_OPTIONS, MODEL_OPTIONS, type OptionSpec } from './schema.js'

export type { LayerConfig, LayerOptions, ModelConfig }

/** The keys missing from config.json, each with the default used for it. */
export type AssumedDefaults = Readonly<Record<string, number | boolean | string | null>>

/** Number of float32 values in 4 GiB, all that a 32-bit WebAssembly memory can address. */
const MAX_PARAMETERS = 2 ** 30

/**
 * Checks a layer's options and fills in defaults.
 * @throws RoutedAttentionError `BAD_CONFIG` for an unknown, missing or invalid option; `BAD_ARGUMENT` if `options` is
 * not an object
 */
export function resolveLayerOptions(options: LayerOptions): LayerConfig {
  if (!isRecord(options))
    throw new RoutedAttentionError('BAD_ARGUMENT', `layer options must be an object such as { dim: 512, … }, got ${describe(options)}`)
  checkOptions('a layer', options, Object.keys(LAYER_OPTIONS), 'BAD_CONFIG')
  const config = readLayer(new ConfigFields(options, 'option ', (name) => name))
  checkParameterCount(layerParameterCount(config), 'these options')
  return config
}

/**
 * Parses a config.json. Its keys are PyTorch's; `seq_len` is an alias of `max_positions`. `model_type` and unknown keys
 * are ignored, except likely typos.
 * @param json the parsed file
 * @throws RoutedAttentionError `BAD_CONFIG` for a missing or invalid value or a likely typo, whatever the file contains;
 * `UNSUPPORTED` for a `quantization_config` that is not supported
 */
export function parseModelConfig(json: unknown): ModelConfig {
  if (!isRecord(json)) throw badConfig(`config.json must hold an object, got ${describe(json)}`)
  checkConfigKeys(json)
  const fields = new ConfigFields(json, 'config.json: ', configKey)
  const layer = readLayer(fields)
  const { routedLayers, ...model } = fields.readAll(MODEL_OPTIONS)
  const blocks = routedLayers && checkBlocks(fields, routedLayers, model.depth)
  const quantization = readQuantizationConfig(json.quantization_config)
  const config: ModelConfig = { layer, ...model, ...(blocks && { routedLayers: blocks }), ...(quantization && { quantization }) }
  checkParameterCount(modelParameterCount(config), 'config.json')
  return config
}

/**
 * The keys missing from a config.json, with the defaults used for them. Ignored options are left out.
 * @param config the result of `parseModelConfig(json)`
 */
export function assumedDefaults({ layer, ...model }: ModelConfig, json: unknown): AssumedDefaults {
  const stated = json as Record<string, unknown>
  const values: Readonly<Record<string, unknown>> = { ...layer, ...model }
  const assumed = Object.entries<OptionSpec>({ ...LAYER_OPTIONS, ...MODEL_OPTIONS })
    .filter(([name]) => Object.hasOwn(values, name))
    .filter(([name, spec]) => ![configKey(name, spec), spec.alias ?? ''].some((key) => isStated(stated, key)))
    .map(([name, spec]) => [configKey(name, spec), values[name] as AssumedDefaults[string]] as const)
  return Object.freeze(Object.fromEntries(assumed))
}

/**
 * A checkpoint that contains the rotary embeddings' buffer was most likely trained with them, and would silently give
 * wrong results without.
 * @param names names of its tensors
 * @throws RoutedAttentionError `BAD_CONFIG` if the buffer is there and config.json does not set `routed_rotary_emb`
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

/** @returns the blocks in ascending order, or undefined if they are all of them */
function checkBlocks(fields: ConfigFields, blocks: readonly number[], depth: number): readonly number[] | undefined {
  if (blocks.some((block) => block < 0 || block >= depth) || new Set(blocks).size !== blocks.length) {
    const got = `[${blocks.slice(0, 20).join(', ')}${blocks.length > 20 ? ', …' : ''}]`
    const name = fields.name(MODEL_OPTIONS, 'routedLayers')
    throw badConfig(`${name} must be null or a list of different blocks from 0 to ${depth - 1}; got ${got}`)
  }
  return blocks.length === depth ? undefined : [...blocks].sort((a, b) => a - b)
}

function readLayer(fields: ConfigFields): LayerConfig {
  const name = (option: keyof LayerOptions) => fields.name(LAYER_OPTIONS, option)
  // first, since the default of `routedWindowSize` depends on it
  fields.read(LAYER_OPTIONS, 'localAttnWindowSize')
  const config: LayerConfig = fields.readAll(LAYER_OPTIONS)
  if (config.dimHead % 2 !== 0) throw badConfig(`${name('dimHead')} must be even, for rotary pairs; got ${config.dimHead}`)
  if (config.causal && (config.selection !== 'top-k' || !config.straightThrough || config.averageRouted)) {
    const required = `${name('selection')} 'top-k', ${name('straightThrough')} true and ${name('averageRouted')} false`
    throw badConfig(`${name('causal')} requires ${required}, since anything else lets later tokens decide`)
  }
  return config
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
