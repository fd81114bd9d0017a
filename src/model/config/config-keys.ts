import { describe, RoutedAttentionError } from '../../errors.js'
import { nearestName } from '../../options.js'
import { isRequired, LAYER_OPTIONS, MODEL_OPTIONS, type OptionSpec } from './schema.js'

/** The known keys of config.json, and those without a default. */
interface ConfigKeys {
  readonly known: readonly string[]
  readonly required: readonly string[]
}

let configKeys: ConfigKeys | undefined

/** Built on first use, so that importing the package costs nothing. */
function keysOfConfig(): ConfigKeys {
  if (configKeys) return configKeys
  const options: readonly (readonly [string, OptionSpec])[] = [...Object.entries(MODEL_OPTIONS), ...Object.entries(LAYER_OPTIONS)]
  const spelled = options.flatMap(([name, spec]) => [configKey(name, spec), ...(spec.alias === undefined ? [] : [spec.alias])])
  return (configKeys = {
    known: ['model_type', 'tokenizer', 'quantization_config', ...spelled],
    required: options.filter(([, spec]) => isRequired(spec)).map(([name, spec]) => configKey(name, spec)),
  })
}

/**
 * Minimum letters, not counting underscores, in a known key for a similar one to be taken for a typo: too many names
 * are similar to a short one.
 */
const FEWEST_LETTERS = 8
/** Maximum number of letters by which a typo differs. */
const MAX_DIFFERENT = 2
/** Maximum unknown keys that are compared; far more than any real config.json has. */
const MAX_EXAMINED = 1000
/** Maximum keys listed in a message. */
const MAX_LISTED = 20

/**
 * Keys of other libraries that are that close to one of ours but mean something else. Found among the 2,739
 * keys of transformers 5.18's configurations and the 6,159 names of arguments and fields in timm 1.0.29, peft 0.21 and
 * accelerate 1.15.
 */
const FOREIGN_KEYS = ['pre_norm', 'ema_decay', 'exp_decay', 'chs_decay', 'select_top', 'tokenize', 'token_mixer']

/** Other libraries' names for what the required keys specify. */
const KEYS_OF_OTHERS = [
  ...['vocab_size', 'n_vocab', 'padded_vocab_size', 'hidden_size', 'd_model', 'n_embd', 'embed_dim', 'model_dim'],
  ...['num_hidden_layers', 'num_layers', 'n_layer', 'n_layers', 'num_attention_heads', 'num_heads', 'n_head', 'n_heads'],
  ...['intermediate_size', 'd_ff', 'ffn_dim', 'n_inner', 'n_positions', 'n_ctx', 'block_size', 'max_position_embeddings', 'context_length'],
]

/**
 * Rejects likely typos of known keys, and a config.json of another kind of model. All other unknown keys are ignored.
 * @throws RoutedAttentionError `BAD_CONFIG` with the keys' `names`
 */
export function checkConfigKeys(json: Readonly<Record<string, unknown>>): void {
  const { known, required } = keysOfConfig()
  refuseSlips(Object.keys(json), known)
  const missing = required.filter((key) => !isStated(json, key))
  if (missing.length === 0) return
  const foreign = KEYS_OF_OTHERS.filter((key) => isStated(json, key))
  const kind = typeof json.model_type === 'string' ? `, model_type ${describe(json.model_type)}` : ''
  const lacks = `${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} missing`
  const message =
    foreign.length < 2
      ? `config.json: ${lacks}`
      : `config.json is of another kind of model (${foreign.slice(0, 4).join(', ')}${kind}), which cannot run here: this package runs models ` +
        `made of routed-attention layers, and ${lacks} that they have`
  throw new RoutedAttentionError('BAD_CONFIG', message, { names: missing })
}

/** Whether a config.json has a value for a key of its own. */
export function isStated(json: Readonly<Record<string, unknown>>, key: string): boolean {
  return Object.hasOwn(json, key) && json[key] !== undefined
}

/** An option's key in config.json. */
export function configKey(name: string, { key }: OptionSpec): string {
  return key ?? name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

function refuseSlips(keys: readonly string[], known: readonly string[]): void {
  const slips: string[] = []
  const listed: string[] = []
  for (const key of keys.filter((key) => !known.includes(key) && !FOREIGN_KEYS.includes(key)).slice(0, MAX_EXAMINED)) {
    const meant = meantKey(key, known)
    if (meant === undefined) continue
    slips.push(key)
    if (listed.length < MAX_LISTED) listed.push(`${describe(key)} (did you mean "${meant}"?)`)
  }
  if (slips.length === 0) return
  if (slips.length > listed.length) listed.push(`and ${slips.length - listed.length} more`)
  const unknown = slips.length === 1 ? 'is not a known key' : 'are not known keys'
  throw new RoutedAttentionError(
    'BAD_CONFIG',
    `config.json: ${listed.join(', ')} ${unknown}; correct or remove ${slips.length === 1 ? 'it' : 'them'}`,
    {
      names: slips,
    },
  )
}

/** The known key that another is a typo of: a few letters differ, or only case and underscores. */
function meantKey(key: string, known: readonly string[]): string | undefined {
  const letters = (name: string) => name.replaceAll('_', '').length
  const near = known.filter((name) => Math.abs(letters(name) - letters(key)) <= MAX_DIFFERENT)
  const nearest = nearestName(key, near)
  if (nearest === undefined || nearest.distance > MAX_DIFFERENT) return undefined
  return nearest.distance === 0 || letters(nearest.name) >= FEWEST_LETTERS ? nearest.name : undefined
}
