import { describe, RoutedAttentionError } from '../../errors.js'
import type { ActivationBits, Quantization } from '../../plan/config.js'

/** Of every output channel of a linear map, and of every row of the token embedding. */
const WEIGHTS = { num_bits: 8, type: 'int', symmetric: true, strategy: 'channel', dynamic: false } as const
const ACTIVATIONS = { type: 'int', symmetric: true, strategy: 'token', dynamic: true } as const
const LINEAR = ['Linear', 'Conv1d']
const EMBEDDING = ['token_emb']

/** `quantization_config` in the convention of compressed-tensors. */
export function writeQuantizationConfig({ activationBits }: Quantization): Record<string, unknown> {
  return {
    quant_method: 'compressed-tensors',
    format: 'int-quantized',
    quantization_status: 'compressed',
    config_groups: {
      group_0: { targets: LINEAR, weights: WEIGHTS, input_activations: { num_bits: activationBits, ...ACTIVATIONS } },
      group_1: { targets: EMBEDDING, weights: WEIGHTS, input_activations: null },
    },
    ignore: [],
  }
}

/**
 * Reads a config.json's `quantization_config`.
 * @returns undefined if there is none
 * @throws RoutedAttentionError `UNSUPPORTED` for any but those that `writeQuantizationConfig` writes; keys that are null
 * do not count
 */
export function readQuantizationConfig(json: unknown): Quantization | undefined {
  if (json === undefined || json === null) return undefined
  const root = fieldsOf(json, 'quantization_config')
  expectValue(root, 'quant_method', 'compressed-tensors', 'quantization_config')
  expectValue(root, 'format', 'int-quantized', 'quantization_config')
  expectValue(root, 'quantization_status', 'compressed', 'quantization_config')
  expectList(root, 'ignore', [], 'quantization_config')
  const groups = fieldsOf(root.get('config_groups'), 'quantization_config.config_groups')
  expectNothingElse(root, ['quant_method', 'format', 'quantization_status', 'config_groups', 'ignore'], 'quantization_config')
  const found = [...groups].map(([name, group]) => readGroup(group, `quantization_config.config_groups.${name}`))
  const linear = found.filter(({ targets }) => isSameSet(targets, LINEAR))
  const embedding = found.filter(({ targets }) => isSameSet(targets, EMBEDDING))
  if (found.length !== 2 || linear.length !== 1 || embedding.length !== 1) {
    throw unsupported(
      'quantization_config.config_groups',
      `one group for ${shown(LINEAR)} and one for ${shown(EMBEDDING)}`,
      found.map(({ targets }) => targets),
    )
  }
  const { activationBits } = linear[0]!
  if (activationBits === undefined) throw unsupported('input_activations of linear maps', '7 or 14 bits', null)
  if (embedding[0]!.activationBits !== undefined)
    throw unsupported('input_activations of the embedding', 'null', embedding[0]!.activationBits)
  return { activationBits }
}

interface Group {
  readonly targets: readonly unknown[]
  readonly activationBits: ActivationBits | undefined
}

function readGroup(json: unknown, where: string): Group {
  const group = fieldsOf(json, where)
  expectNothingElse(group, ['targets', 'weights', 'input_activations'], where)
  const targets = group.get('targets')
  if (!Array.isArray(targets)) throw unsupported(`${where}.targets`, 'a list', targets)
  expectAll(fieldsOf(group.get('weights'), `${where}.weights`), WEIGHTS, `${where}.weights`)
  const activations = group.get('input_activations')
  if (activations === undefined) return { targets, activationBits: undefined }
  const fields = fieldsOf(activations, `${where}.input_activations`)
  const bits = fields.get('num_bits')
  if (bits !== 7 && bits !== 14) throw unsupported(`${where}.input_activations.num_bits`, '7 or 14', bits)
  expectAll(fields, { num_bits: bits, ...ACTIVATIONS }, `${where}.input_activations`)
  return { targets, activationBits: bits }
}

type Fields = ReadonlyMap<string, unknown>

/** The keys that are not null. */
function fieldsOf(json: unknown, where: string): Fields {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw unsupported(where, 'an object', json)
  return new Map(Object.entries(json).filter(([, value]) => value !== null && value !== undefined))
}

function expectAll(fields: Fields, expected: Readonly<Record<string, unknown>>, where: string): void {
  for (const [key, value] of Object.entries(expected)) expectValue(fields, key, value, where)
  expectNothingElse(fields, Object.keys(expected), where)
}

function expectValue(fields: Fields, key: string, expected: unknown, where: string): void {
  const value = fields.get(key)
  if (value !== expected) throw unsupported(`${where}.${key}`, describe(expected), value)
}

function expectList(fields: Fields, key: string, expected: readonly unknown[], where: string): void {
  const value = fields.get(key) ?? []
  if (!Array.isArray(value) || !isSameSet(value, expected)) throw unsupported(`${where}.${key}`, shown(expected), value)
}

function expectNothingElse(fields: Fields, known: readonly string[], where: string): void {
  const [other] = [...fields.keys()].filter((key) => !known.includes(key))
  if (other !== undefined) throw unsupported(`${where}.${other.slice(0, 100)}`, 'nothing', fields.get(other))
}

function isSameSet(values: readonly unknown[], expected: readonly unknown[]): boolean {
  return values.length === expected.length && expected.every((value) => values.includes(value))
}

const shown = (values: readonly unknown[]): string => `[${values.slice(0, 8).map(describe).join(', ')}]`

function unsupported(where: string, expected: string, value: unknown): RoutedAttentionError {
  const got = Array.isArray(value) ? shown(value) : describe(value)
  return new RoutedAttentionError(
    'UNSUPPORTED',
    `config.json: ${where} must be ${expected} to run here, got ${got}; the quantization that runs here is what routed-attention quantize writes`,
  )
}
