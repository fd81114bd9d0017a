import { BufferIndex } from '../../../assembly/ir/header.js'
import { WeightFormat } from '../../../assembly/ir/values.js'
import { type Axis, formatBytes, type PackedWeight, type WeightLayout } from '../../device/device.js'
import type { Geometry } from '../geometry.js'
import { Layout, roundUp } from './layout.js'
import { at, type Operand } from '../../program/operand.js'

/** One run of rows. */
function run(size: number, first = 0, stride = size): Axis {
  return { first, groups: 1, size, stride }
}

/** Packed weights as an operand, and how they lie in memory. */
export interface Weights extends Operand {
  readonly format: WeightFormat
}

/** Collects what a program needs of the parameters and where it will lie. Names and shapes are SPEC section 1's. */
export class WeightPlan {
  readonly #layout = new Layout()
  readonly #formatOf: (name: string) => WeightFormat
  readonly #weights: PackedWeight[] = []
  readonly #constants: { byteOffset: number; values: Float64Array }[] = []

  /**
   * @param formatOf the format of a parameter that is used often enough to be kept as it came; default: float32. Norms,
   * biases and what is computed from a parameter are float32 always
   */
  constructor(formatOf: (name: string) => WeightFormat = () => WeightFormat.Float32) {
    this.#formatOf = formatOf
  }

  finish(): WeightLayout {
    return { byteLength: this.#layout.byteLength, weights: this.#weights, constants: this.#constants }
  }

  /** Linear maps: outputs of `sources` one after the other, as panels. */
  panels(sources: readonly { name: string; outputs: Axis }[], inputs: Axis, normalised = false): Weights {
    const outputs = sources.reduce((sum, source) => sum + source.outputs.groups * source.outputs.stride, 0)
    const format = sources.length === 1 && !normalised ? this.#formatOf(sources[0]!.name) : WeightFormat.Float32
    return this.#add('panels', sources, inputs, roundUp(outputs), { normalised, format })
  }

  linear(name: string, outputs: number, inputs: number): Weights {
    return this.panels([{ name, outputs: run(outputs) }], run(inputs))
  }

  /** A table of `count` rows of `width` values, padded to whole vectors. */
  table(name: string, count: number, width: number): Weights {
    return this.#add('rows', [{ name, outputs: run(count) }], run(width, 0, roundUp(width)), count, { format: this.#formatOf(name) })
  }

  /** Rows of `width` values, padded to whole vectors: `count` of them from `first` on. */
  rows(name: string, count: number, width: number, first = 0): Operand {
    return this.#add('rows', [{ name, outputs: run(count, first) }], run(width, 0, roundUp(width)), count)
  }

  vector(name: string, width: number): Operand {
    return this.rows(name, 1, width)
  }

  /** Rows of several sources, each row with padding of its own. */
  stacked(sources: readonly { name: string; outputs: Axis }[], width: number): Operand {
    const count = sources.reduce((sum, source) => sum + source.outputs.groups * source.outputs.stride, 0)
    return this.#add('rows', sources, run(width, 0, roundUp(width)), count)
  }

  /** 10000^(-2j/e), j < e / 2: how fast pair j turns (SPEC section 2). */
  frequencies(dimHead: number): Operand {
    const values = Float64Array.from({ length: dimHead / 2 }, (_, j) => 10000 ** ((-2 * j) / dimHead))
    const byteOffset = this.#layout.bytes(values.byteLength)
    this.#constants.push({ byteOffset, values })
    return at(BufferIndex.Weights, byteOffset)
  }

  #add(
    layout: PackedWeight['layout'],
    sources: PackedWeight['sources'],
    inputs: Axis,
    outputs: number,
    { normalised = false, format = WeightFormat.Float32 } = {},
  ): Weights {
    const byteOffset = this.#layout.bytes(outputs * inputs.groups * inputs.stride * formatBytes(format))
    this.#weights.push({ byteOffset, layout, format, sources, inputs, normalised })
    return { ...at(BufferIndex.Weights, byteOffset), format }
  }
}

/** One expert's weights. */
export interface ExpertWeights {
  readonly queryNorm: Operand | undefined
  readonly contextNorm: Operand | undefined
  readonly toQueries: Weights
  readonly toKeyValues: Weights
  readonly toOutputs: Weights
  /** [key: inner][value: inner]. */
  readonly nullPair: Operand
}

/** Weights of a layer's routed part. */
export interface RoutingWeights {
  /** Routing tokens of the queries' router, then of the key/values'. */
  readonly routingTokens: Weights
  readonly nullTokens: Operand
  readonly experts: readonly ExpertWeights[]
}

export interface LayerWeights {
  readonly localNorm: { readonly weight: Operand; readonly bias: Operand } | undefined
  readonly toQueriesKeysValues: Weights
  readonly toOutputs: Weights
  /** Absent in blocks that have local attention alone. */
  readonly routing: RoutingWeights | undefined
}

/**
 * Plans the weights of one layer whose parameters' names begin with `prefix`.
 * @param isRouted whether it has a routed part
 */
export function planLayerWeights(plan: WeightPlan, geometry: Geometry, prefix: string, isRouted = true): LayerWeights {
  const { dim, heads, prenorm } = geometry.config
  const name = (suffix: string) => prefix + suffix
  return {
    localNorm: prenorm
      ? { weight: plan.vector(name('local_attn.norm.weight'), dim), bias: plan.vector(name('local_attn.norm.bias'), dim) }
      : undefined,
    toQueriesKeysValues: plan.panels([{ name: name('local_attn.to_qkv.weight'), outputs: headRows(geometry, 3 * heads) }], run(dim)),
    toOutputs: plan.panels([{ name: name('local_attn.to_out.weight'), outputs: run(dim) }], headRows(geometry, heads)),
    routing: isRouted ? planRoutingWeights(plan, geometry, prefix) : undefined,
  }
}

function planRoutingWeights(plan: WeightPlan, geometry: Geometry, prefix: string): RoutingWeights {
  const { dim, heads, dimHead, numExperts, prenorm, cosineSimRouting } = geometry.config
  const name = (suffix: string) => prefix + suffix
  return {
    routingTokens: plan.panels(
      [
        { name: name('query_router.routing_token'), outputs: run(numExperts) },
        { name: name('key_value_router.routing_token'), outputs: run(numExperts) },
      ],
      run(dim),
      cosineSimRouting,
    ),
    nullTokens: plan.rows(name('null_tokens'), numExperts, dim),
    experts: Array.from({ length: numExperts }, (_, expert) => ({
      queryNorm: prenorm ? plan.rows(name('attn.norm.gamma'), 1, dim, expert) : undefined,
      contextNorm: prenorm ? plan.rows(name('attn.context_norm.gamma'), 1, dim, expert) : undefined,
      toQueries: plan.panels([{ name: name('attn.to_q.weight'), outputs: headRows(geometry, heads, expert * heads * dimHead) }], run(dim)),
      toKeyValues: plan.panels(
        [{ name: name('attn.to_kv.weight'), outputs: headRows(geometry, 2 * heads, expert * 2 * heads * dimHead) }],
        run(dim),
      ),
      toOutputs: plan.panels([{ name: name('attn.to_out.weight'), outputs: run(dim, expert * dim) }], headRows(geometry, heads)),
      nullPair: plan.stacked(
        [0, 1].map((part) => ({ name: name('attn.null_kv'), outputs: run(heads, (part * numExperts + expert) * heads) })),
        dimHead,
      ),
    })),
  }
}

/** Heads from row `first` on, each padded. */
function headRows({ config, headStride }: Geometry, groups: number, first = 0): Axis {
  return { first, groups, size: config.dimHead, stride: headStride }
}
