import { describe, RoutedAttentionError } from '../../errors.js'
import { isFloatDtype, type TensorInfo } from '../../io/safetensors.js'
import { createRandom } from '../../random.js'
import { isMap } from '../../realm.js'
import { Tensor } from '../../tensor.js'
import type { LayerConfig } from '../../plan/config.js'
import { layerParameters, type Parameter } from '../../plan/parameters.js'
import { likelyPrefix } from './state-dict-prefix.js'

/** What a parameter's tensor must be. */
type ParameterSpec = Pick<Parameter, 'name' | 'shape'>

/** What a tensor in a file must be. */
export interface StoredSpec extends ParameterSpec {
  /** The required dtype; if absent, any float dtype is accepted. */
  readonly dtype?: 'I8' | 'F32'
}

/** The stored tensor's name for each parameter name. */
export type StoredNames = ReadonlyMap<string, string>

/** Tensors by PyTorch name. */
export type StateDict = ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>

/**
 * Initialises a layer's parameters (SPEC section 1): linear maps uniform in ±1/√columns, tokens standard normal, norms
 * the identity. One random stream in the order of `layerParameters`, so that a seed gives the same values everywhere.
 * @param seed any finite number; if omitted, each call gives different values
 * @throws RoutedAttentionError `BAD_ARGUMENT` for any other seed; `OUT_OF_MEMORY`
 */
export function initialLayerParameters(config: LayerConfig, seed?: number): Map<string, Tensor> {
  const random = createRandom(seed)
  const parameters = new Map<string, Tensor>()
  for (const { name, shape, initial } of layerParameters(config)) {
    const data = allocateZeros(elements(shape), name)
    if (initial === 'ones') data.fill(1)
    else if (initial === 'normal') for (let i = 0; i < data.length; i++) data[i] = random.normal()
    else if (initial === 'uniform') {
      const bound = 1 / Math.sqrt(shape[1]!)
      for (let i = 0; i < data.length; i++) data[i] = (2 * random.uniform() - 1) * bound
    }
    parameters.set(name, new Tensor(data, shape))
  }
  return parameters
}

/**
 * Selects a layer's or a model's parameters from a state dict. PyTorch's buffers are ignored, as is a prefix that all
 * names share (`net.`, `module.`, `_orig_mod.`).
 * @returns exactly the parameters of `specs`, in their order
 * @throws RoutedAttentionError `BAD_WEIGHTS` listing all missing, unexpected and misshapen ones; `BAD_ARGUMENT` for
 * anything but a Map or a record
 */
export function checkStateDict(specs: readonly ParameterSpec[], tensors: StateDict): Map<string, Tensor> {
  const entries = entriesOf(tensors)
  const names = match<Tensor, ParameterSpec>(specs, entries, (value: unknown, { shape }) => {
    if (!(value instanceof Tensor)) return `not a Tensor but ${describe(value)}`
    if (!isSameShape(value.shape, shape)) return misshapen(value.shape, shape)
    return value.data.length === elements(shape) ? undefined : 'its data was transferred away'
  })
  return pick(names, entries)
}

/**
 * Does the same for the header of a file, and checks dtypes.
 * @returns the stored name of each parameter, in the order of `specs`
 * @throws RoutedAttentionError `BAD_WEIGHTS`
 */
export function matchStoredTensors(specs: readonly StoredSpec[], tensors: ReadonlyMap<string, TensorInfo>): StoredNames {
  return match<TensorInfo, StoredSpec>(specs, tensors, (stored, { shape, dtype }) => {
    if (dtype === undefined ? !isFloatDtype(stored.dtype) : stored.dtype !== dtype)
      return `${stored.dtype}, not ${dtype ?? 'F32, F16, BF16 or F64'}`
    return isSameShape(stored.shape, shape) ? undefined : misshapen(stored.shape, shape)
  })
}

/** The stored values, by parameter name. */
export function pick<T>(names: StoredNames, stored: ReadonlyMap<string, T>): Map<string, T> {
  return new Map([...names].map(([name, storedName]) => [name, stored.get(storedName)!]))
}

function allocateZeros(size: number, name: string): Float32Array {
  try {
    return new Float32Array(size)
  } catch (cause) {
    throw new RoutedAttentionError('OUT_OF_MEMORY', `cannot allocate the ${size} values of ${name}`, { cause })
  }
}

function elements(shape: readonly number[]): number {
  return shape.reduce((size, length) => size * length, 1)
}

/** Maximum problems of each kind listed in a message; further ones are only counted. */
const MAX_LISTED = 20

const IGNORED_BUFFER = /(^|\.)local_attn\.attn_fn\.rel_pos\.(inv_freq|scale)$|^rotary_emb\.inv_freq$/

/** @param unfit returns what is wrong with a value, or undefined */
function match<T, Spec extends ParameterSpec>(
  specs: readonly Spec[],
  tensors: ReadonlyMap<string, T>,
  unfit: (value: T, spec: Spec) => string | undefined,
): StoredNames {
  const known = new Set(specs.map(({ name }) => name))
  const names = [...(tensors.keys() as Iterable<unknown>)]
  const texts = names.filter((name) => typeof name === 'string')
  const likely = likelyPrefix(known, texts)
  const prefix = texts.length === names.length && texts.every((name) => name.startsWith(likely)) ? likely : ''
  const matched = new Map<string, string>()
  const missing: ParameterSpec[] = []
  const bad: string[] = []
  for (const spec of specs) {
    const { name } = spec
    if (!tensors.has(prefix + name)) {
      missing.push(spec)
      continue
    }
    const value = tensors.get(prefix + name)!
    const problem = unfit(value, spec)
    if (problem === undefined) matched.set(name, prefix + name)
    else bad.push(`${name} (${problem})`)
  }
  const extra: string[] = []
  for (const name of names) {
    if (typeof name !== 'string') extra.push(describe(name))
    else if (!known.has(name.slice(prefix.length)) && !IGNORED_BUFFER.test(name.slice(prefix.length))) extra.push(name.slice(prefix.length))
  }
  const problems = [
    listed(
      'missing',
      missing.map(({ name, shape }) => `${name} [${shape.join(', ')}]`),
    ),
    listed(
      'unexpected',
      extra.map((name) => (name.length > 100 ? `${name.slice(0, 100)}…` : name)),
    ),
    listed('unfit', bad),
  ].filter((list) => list !== '')
  if (problems.length === 0) return matched
  const leftOff = prefix === '' ? '' : ` (without ${describe(prefix)}, which stands in front of all its names)`
  throw new RoutedAttentionError(
    'BAD_WEIGHTS',
    `the state dict does not fit the options${leftOff}: ${problems.join('; ')}${prefix === '' ? elsewhere(likely, missing, tensors) : ''}`,
    { names: [...missing.map(({ name }) => name), ...extra] },
  )
}

/** Advice for the case that missing parameters are present under a prefix that not all names have. */
function elsewhere(prefix: string, missing: readonly ParameterSpec[], tensors: ReadonlyMap<string, unknown>): string {
  const found = prefix === '' ? 0 : missing.filter(({ name }) => tensors.has(prefix + name)).length
  if (found === 0) return ''
  return `; ${found} of the missing ones are present under ${describe(prefix)}: keep only the names that begin with it`
}

function listed(title: string, names: readonly string[]): string {
  if (names.length === 0) return ''
  const rest = names.length - MAX_LISTED
  return `${names.length} ${title}: ${names.slice(0, MAX_LISTED).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`
}

/** The values may be of any type: `unfit` checks them. */
function entriesOf(tensors: StateDict): ReadonlyMap<string, Tensor> {
  if (isMap(tensors)) return tensors
  const isRecord =
    typeof tensors === 'object' &&
    tensors !== null &&
    !Array.isArray(tensors) &&
    !ArrayBuffer.isView(tensors) &&
    !(tensors instanceof Tensor)
  if (!isRecord)
    throw new RoutedAttentionError('BAD_ARGUMENT', `a state dict must be a Map or a record of Tensors, got ${describe(tensors)}`)
  return new Map(Object.entries(tensors))
}

function misshapen(found: readonly number[], expected: readonly number[]): string {
  const shown = found.length > 8 ? `${found.slice(0, 8).join(', ')}, …` : found.join(', ')
  return `shape [${shown}], not [${expected.join(', ')}]`
}

function isSameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((length, axis) => length === b[axis])
}
