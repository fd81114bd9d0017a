/** The golden cases of test/golden, whose README has the recipe that makes their inputs and parameters. */
import { readFileSync } from 'node:fs'
import { Tensor } from '../../src/tensor.js'
import { camelCaseOptions, layerOptions, type ForwardOptions, type LayerOptions } from '../reference/options.js'
import { floatValues, readSafetensors, type StoredTensor } from './safetensors.js'

export interface LayerCase {
  name: string
  about: string
  /** PyTorch's names, only what the case sets. */
  config: Record<string, unknown>
  /** The same in camelCase, as the layer's constructor takes it. */
  options: LayerOptions
  /** This call's overrides in camelCase, and `rotaryEmb` where there is one. */
  readonly forwardOptions: ForwardOptions<Tensor>
  /** (batch, tokens, dim); its checksum is verified when it is made. */
  readonly input: Tensor
  readonly rotaryEmb: Tensor | null
  /** The state dict; its checksum is verified when it is made. */
  readonly parameters: Map<string, Tensor>
  /** `expected.out` and `expected.localOut` hold tokens 0, tokenStride, 2·tokenStride, … only. */
  tokenStride: number
  /**
   * The largest absolute error that PyTorch makes in float32; 4 of it and 1e-6 is what a float32 implementation is
   * allowed.
   */
  float32Error: number
  readonly expected: ExpectedLayer
}

export interface ExpectedLayer {
  out: Tensor
  localOut: Tensor
  /** (batch, windows, experts, window) of 0 and 1; absent when there is one window. */
  routedQueries?: { data: Uint8Array; shape: number[] }
  /** (batch, windows, experts, k), ascending, the -1 of empty places first; absent when there is one window. */
  keyValueIndices?: { data: Int32Array; shape: number[] }
}

export interface ModelCase {
  name: string
  about: string
  /** What config.json holds. */
  config: Record<string, unknown>
  readonly parameters: Map<string, Tensor>
  inputIds: number[]
  prefixLengths: number[]
  float32Error: number
  readonly expected: {
    /** (tokens, V). */
    logits: Tensor
    /** (prefixes, V): the last row of a forward over that many tokens. */
    prefixLogits: Tensor
  }
}

interface Recipe {
  shape: number[]
  seed: number
  scale: number
  offset: number
}

interface StoredLayerCase {
  name: string
  about: string
  config: Record<string, unknown>
  forward: Record<string, unknown>
  input: Recipe & { rows?: number[][] }
  rotary: Recipe | null
  parameters: (Recipe & { name: string })[]
  token_stride: number
  float32_error: number
  checksum: { input: number; parameters: number }
}

interface StoredModelCase {
  name: string
  about: string
  config: Record<string, unknown>
  parameters: (Recipe & { name: string })[]
  input_ids: number[]
  prefix_lengths: number[]
  float32_error: number
}

/** The layer's cases. What is large in one is made when it is first read. */
export function layerCases(): LayerCase[] {
  return readJson<StoredLayerCase[]>('cases.json').map((stored) => {
    const input = once(() => makeInput(stored))
    const rotaryEmb = once(() => stored.rotary && makeTensor(stored.rotary))
    const parameters = once(() => makeCheckedParameters(stored))
    const expected = once(() => readExpected(stored.name))
    return {
      name: stored.name,
      about: stored.about,
      config: stored.config,
      options: layerOptions(stored.config),
      tokenStride: stored.token_stride,
      float32Error: stored.float32_error,
      get forwardOptions() {
        const angles = rotaryEmb()
        return { ...camelCaseOptions(stored.forward), ...(angles && { rotaryEmb: angles }) }
      },
      get input() {
        return input()
      },
      get rotaryEmb() {
        return rotaryEmb()
      },
      get parameters() {
        return parameters()
      },
      get expected() {
        return expected()
      },
    }
  })
}

/** The small language models. What is large in one is made when it is first read. */
export function modelCases(): ModelCase[] {
  return readJson<StoredModelCase[]>('models.json').map((stored) => {
    const parameters = once(() => makeParameters(stored.parameters))
    const expected = once(() => {
      const file = readGolden(stored.name)
      return { logits: floatTensor(file, 'logits'), prefixLogits: floatTensor(file, 'prefix_logits') }
    })
    return {
      name: stored.name,
      about: stored.about,
      config: stored.config,
      inputIds: stored.input_ids,
      prefixLengths: stored.prefix_lengths,
      float32Error: stored.float32_error,
      get parameters() {
        return parameters()
      },
      get expected() {
        return expected()
      },
    }
  })
}

/** The recipe of test/golden/README.md. */
function makeTensor({ shape, seed, scale, offset }: Recipe): Tensor {
  const data = new Float32Array(shape.reduce((size, length) => size * length, 1))
  const start = Math.imul(seed, 0x9e3779b1)
  for (let i = 0; i < data.length; i++) {
    let h = (i + start) | 0
    h ^= h >>> 16
    h = Math.imul(h, 0x85ebca6b)
    h ^= h >>> 13
    h = Math.imul(h, 0xc2b2ae35)
    h ^= h >>> 16
    data[i] = ((h >>> 8) * 2 ** -23 - 1) * scale + offset
  }
  return new Tensor(data, shape)
}

function makeInput({ name, input, checksum }: StoredLayerCase): Tensor {
  const made = makeTensor(input)
  const dim = input.shape.at(-1)
  // Token t of sequence b is row rows[b][t] of the first sequence made, and the zero token for -1.
  const tokens = input.rows?.flat().map((row) => (row < 0 ? new Float32Array(dim) : made.data.slice(row * dim, (row + 1) * dim)))
  if (tokens) tokens.forEach((token, i) => made.data.set(token, i * dim))
  verify(`${name}: input`, sum(made), checksum.input)
  return made
}

function makeParameters(recipes: StoredLayerCase['parameters']): Map<string, Tensor> {
  return new Map(recipes.map((recipe) => [recipe.name, makeTensor(recipe)]))
}

function makeCheckedParameters({ name, parameters, checksum }: StoredLayerCase): Map<string, Tensor> {
  const made = makeParameters(parameters)
  verify(
    `${name}: parameters`,
    [...made.values()].reduce((total, tensor) => total + sum(tensor), 0),
    checksum.parameters,
  )
  return made
}

function sum(tensor: Tensor): number {
  return tensor.data.reduce((total, value) => total + value, 0)
}

function verify(what: string, actual: number, expected: number): void {
  // A sum of a million values of order 1 carries that much rounding in float64.
  if (Math.abs(actual - expected) > 1e-9 * Math.max(1, Math.abs(expected))) {
    throw new Error(`${what} add up to ${actual}, the golden case says ${expected}: the recipe was not followed`)
  }
}

function readExpected(name: string): ExpectedLayer {
  const file = readGolden(name)
  const expected: ExpectedLayer = { out: floatTensor(file, 'out'), localOut: floatTensor(file, 'local_out') }
  const queries = file.get('routed_queries')
  if (queries?.dtype === 'U8') expected.routedQueries = { data: queries.data, shape: queries.shape }
  const keyValues = file.get('key_value_indices')
  if (keyValues?.dtype === 'I32') expected.keyValueIndices = { data: keyValues.data, shape: keyValues.shape }
  return expected
}

function floatTensor(file: Map<string, StoredTensor>, name: string): Tensor {
  const stored = file.get(name)
  if (stored === undefined) throw new Error(`the golden file has no tensor ${name}`)
  return new Tensor(floatValues(stored), stored.shape)
}

function readGolden(name: string): Map<string, StoredTensor> {
  return readSafetensors(readFileSync(golden(`${name}.safetensors`)))
}

function readJson<T>(name: string): T {
  return JSON.parse(readFileSync(golden(name), 'utf8')) as T
}

function golden(name: string): URL {
  return new URL(`../golden/${name}`, import.meta.url)
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined
  return () => (made ??= { value: make() }).value
}
