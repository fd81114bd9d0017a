/** Language models small enough to be made, loaded and run in milliseconds. */
import fc from 'fast-check'
import type { Runtime } from '../../src/device/runtime.js'
import { parseModelConfig } from '../../src/model/config/config.js'
import { LanguageModel } from '../../src/model/language-model.js'
import { modelParameters } from '../../src/plan/parameters.js'
import { createRandom } from '../../src/random.js'
import { Tensor } from '../../src/tensor.js'
import type { ModelCase } from './golden.js'
import { modelFiles } from './models.js'

export interface SmallModel {
  /** What config.json holds. */
  readonly config: Record<string, unknown>
  readonly parameters: Map<string, Tensor>
}

/** A strictly causal model whose windows close, contexts fill up and local buffers move on within a hundred tokens. */
export const causalConfig = {
  num_tokens: 23,
  dim: 16,
  depth: 2,
  heads: 2,
  dim_head: 6,
  ff_mult: 2,
  local_attn_window_size: 9,
  routed_window_size: 7,
  num_routed_queries: 3,
  num_routed_key_values: 11,
  num_experts: 2,
  cosine_sim_routing: true,
  selection: 'top-k',
  causal: true,
  routed_rotary_emb: true,
  max_positions: null,
} as const

/** The same sizes with the published routing, where later tokens change earlier outputs. */
export const publishedConfig = { ...causalConfig, selection: 'coordinate-descent', causal: false } as const

/** Strictly causal, of blocks with and without a routed part. */
export const partlyRoutedConfig = { ...causalConfig, depth: 3, routed_layers: [1] } as const

/** Models whose sessions hold different things, or in different shapes. */
export const sessionConfigs = [
  ['all blocks routed', causalConfig],
  ['one block routed', partlyRoutedConfig],
  ['no norms, learned positions', { ...causalConfig, prenorm: false, routed_rotary_emb: false, max_positions: 200, num_experts: 3 }],
  ['contexts wider than a window', { ...causalConfig, num_routed_key_values: 30, cosine_sim_routing: false }],
  ['a local window of many windows', { ...causalConfig, local_attn_window_size: 40, routed_window_size: 5 }],
  ['no local window', { ...causalConfig, local_attn_window_size: 0 }],
] as const

/** A model with every parameter at random, the norms' too. */
export function smallModel(config: Record<string, unknown>, seed = 1): SmallModel {
  const random = createRandom(seed)
  const parameters = new Map<string, Tensor>()
  for (const { name, shape } of modelParameters(parseModelConfig(config))) {
    const made = Tensor.zeros(shape)
    const isNorm = /norm\.weight$|gamma$/.test(name)
    const isLinear = shape.length > 1 && name.endsWith('weight') && !name.includes('_emb')
    for (let i = 0; i < made.data.length; i++) {
      if (isNorm) made.data[i] = 1 + random.normal() / 4
      else if (isLinear) made.data[i] = (2 * random.uniform() - 1) / Math.sqrt(shape[1]!)
      else made.data[i] = random.normal()
    }
    parameters.set(name, made)
  }
  return { config, parameters }
}

/** Its files, as `LanguageModel.load` takes them. */
export function smallModelFiles(model: SmallModel): Map<string, Uint8Array> {
  return modelFiles(model as ModelCase)
}

export function loadSmallModel(runtime: Runtime, config: Record<string, unknown>, seed?: number): Promise<LanguageModel> {
  return LanguageModel.load(smallModelFiles(smallModel(config, seed)), { runtime })
}

/** Token ids at random; the same seed gives the same ones. */
export function randomTokens(length: number, numTokens: number, seed = 1): number[] {
  const random = createRandom(seed)
  return Array.from({ length }, () => Math.floor(random.uniform() * numTokens))
}

/** Sizes and options that any language model may have. */
const commonFields = {
  num_tokens: fc.integer({ min: 1, max: 40 }),
  dim: fc.integer({ min: 1, max: 24 }),
  depth: fc.integer({ min: 1, max: 3 }),
  heads: fc.integer({ min: 1, max: 3 }),
  dim_head: fc.integer({ min: 1, max: 7 }).map((pairs) => 2 * pairs),
  ff_mult: fc.integer({ min: 1, max: 3 }),
  local_attn_window_size: fc.integer({ min: 0, max: 24 }),
  routed_window_size: fc.integer({ min: 1, max: 20 }),
  num_routed_queries: fc.integer({ min: 1, max: 24 }),
  num_routed_key_values: fc.oneof(fc.integer({ min: 1, max: 24 }), fc.integer({ min: 25, max: 200 })),
  num_experts: fc.integer({ min: 1, max: 3 }),
  prenorm: fc.boolean(),
  cosine_sim_routing: fc.boolean(),
  routed_rotary_emb: fc.boolean(),
  max_positions: fc.constantFrom(null, 400),
}

/** Gives some configurations blocks without a routed part: a bit of `mask` for each block that has one. */
function someRouted<T extends { depth: number }>(configs: fc.Arbitrary<T>): fc.Arbitrary<T & { routed_layers: number[] | null }> {
  return fc.tuple(configs, fc.option(fc.integer({ min: 0, max: 7 }))).map(([config, mask]) => ({
    ...config,
    routed_layers: mask === null ? null : Array.from({ length: config.depth }, (_, block) => block).filter((block) => mask & (1 << block)),
  }))
}

export const causalConfigs = someRouted(fc.record({ ...commonFields, selection: fc.constant('top-k'), causal: fc.constant(true) }))

export const publishedConfigs = someRouted(
  fc.record({
    ...commonFields,
    selection: fc.constantFrom('coordinate-descent', 'top-k'),
    causal: fc.constant(false),
    average_routed: fc.boolean(),
    straight_through: fc.boolean(),
  }),
)

/** How many tokens each of a row of appends takes, `total` together; some take none. */
export function splits(total: number): fc.Arbitrary<number[]> {
  return fc.array(fc.oneof(fc.constant(0), fc.constant(1), fc.integer({ min: 0, max: total })), { maxLength: 12 }).map((sizes) => {
    let left = total
    const cut = sizes.map((size) => {
      const taken = Math.min(size, left)
      left -= taken
      return taken
    })
    return left > 0 ? [...cut, left] : cut
  })
}

/** Fills unused memory with NaN, so that a read of what was never written shows. */
export function poisonMemory(runtime: Runtime, byteLength = 2 ** 20): void {
  const buffer = runtime.device.allocate(byteLength, 'the test')
  buffer.write(new Int32Array(byteLength / 4).fill(-1), 0)
  buffer.dispose()
}
