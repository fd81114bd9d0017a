import type { ModelConfig } from '../config.js'
import { countRouted, isRouted } from '../routed-layers.js'
import { heldCount, localCount, openCount } from '../chunk.js'

/*
 * A saved causal state, which any plan can restore: what each layer was given for the tokens that the last one attended
 * to and for those of the open window, once for each token, instead of the keys and values that are projected from it.
 * Little-endian:
 *
 *   f64  for each routed layer and expert, the positions of its context's tokens, ascending
 *   f32  for each layer, if it is routed, for each expert the context's router scores, then those of the open window
 *        as queries and as key/values; then the inputs, a row of `dim` for each held position, ascending
 *
 * Held are the positions in contexts, in the open window, and in the local window of the last token, itself included. A
 * window stays open until the next one begins. Sizes follow from the model, the position and the contexts' positions.
 */

/** What is saved of a layer: views of its part. */
export interface SavedLayer {
  /** Absent if the layer has only local attention. */
  readonly experts: readonly SavedExpert[] | undefined
  readonly held: HeldPositions
  /** [held][dim]. */
  readonly inputs: Float32Array
}

export interface SavedExpert {
  /** Of the context's tokens, ascending. */
  readonly positions: Float64Array
  readonly contextRouterScores: Float32Array
  readonly openQueryRouterScores: Float32Array
  readonly openKeyValueRouterScores: Float32Array
}

/** The positions whose inputs a layer holds, ascending: some older ones, then all of the recent ones. */
export class HeldPositions {
  /** The first recent one; the sequence's own position ends them. */
  readonly firstRecent: number
  readonly #older: Float64Array
  readonly length: number

  /** @param contexts positions of contexts' tokens, each ascending */
  constructor(contexts: readonly Float64Array[], firstRecent: number, position: number) {
    const older = new Set<number>()
    for (const positions of contexts) {
      for (const each of positions) {
        if (each >= firstRecent) break
        older.add(each)
      }
    }
    this.firstRecent = firstRecent
    this.#older = Float64Array.from(older).sort()
    this.length = this.#older.length + position - firstRecent
  }

  /** Index of a position that is held. */
  indexOf(position: number): number {
    const older = this.#older
    if (position >= this.firstRecent) return older.length + position - this.firstRecent
    let first = 0
    for (let end = older.length; end - first > 1;) {
      const middle = (first + end) >>> 1
      if (older[middle]! <= position) first = middle
      else end = middle
    }
    return first
  }
}

/** Numbers that follow from a model and a position. */
interface Extents {
  /** Tokens of a context. */
  readonly context: number
  /** Tokens of the open window, and those that the last one attended to. */
  readonly open: number
  readonly local: number
}

function extentsOf({ layer }: ModelConfig, position: number): Extents {
  return {
    context: heldCount(layer, position),
    open: openCount(layer, position),
    local: localCount(layer, position),
  }
}

/** Number of positions in a saved state. */
export function positionCount(config: ModelConfig, position: number): number {
  return countRouted(config) * config.layer.numExperts * heldCount(config.layer, position)
}

/**
 * The parts of a saved state.
 * @param positions all of its positions: `positionCount`
 * @param floats receives their number, and returns the floats after the positions; undefined refuses them
 */
export function savedLayers(
  config: ModelConfig,
  position: number,
  positions: Float64Array,
  floats: (length: number) => Float32Array | undefined,
): SavedLayer[] | undefined {
  const { depth, layer } = config
  const { numExperts, dim } = layer
  const { context, open, local } = extentsOf(config, position)
  let at = 0
  const layers = Array.from({ length: depth }, (_, block) => {
    const contexts = Array.from({ length: isRouted(config, block) ? numExperts : 0 }, () => positions.subarray(at, (at += context)))
    const recent = contexts.length > 0 ? Math.max(open, local) : local
    return { contexts, held: new HeldPositions(contexts, position - recent, position) }
  })
  const length = layers.reduce((sum, { contexts, held }) => sum + contexts.length * (context + 2 * open) + held.length * dim, 0)
  const values = floats(length)
  if (!values) return undefined
  let next = 0
  const take = (count: number) => values.subarray(next, (next += count))
  return layers.map(({ contexts, held }) => {
    const experts = contexts.map((of) => ({
      positions: of,
      contextRouterScores: take(context),
      openQueryRouterScores: take(open),
      openKeyValueRouterScores: take(open),
    }))
    return { experts: contexts.length > 0 ? experts : undefined, held, inputs: take(held.length * dim) }
  })
}

/**
 * The parts of saved bytes. They are untrusted: anything but floats is checked, before memory of a size that they claim
 * is used.
 * @param bytes aligned to 4; the floats are views of them
 * @returns undefined if they are not a state of this model at this position
 */
export function parseState(config: ModelConfig, position: number, bytes: Uint8Array): SavedLayer[] | undefined {
  const count = positionCount(config, position)
  if (bytes.byteLength < count * 8 || bytes.byteLength % 4 !== 0) return undefined
  // a copy, which is aligned to 8
  const positions = new Float64Array(new Uint8Array(bytes.subarray(0, count * 8)).buffer)
  const { context, open } = extentsOf(config, position)
  for (let i = 0; i < count; i++) {
    const isFirst = i % context === 0
    const each = positions[i]!
    if (!Number.isInteger(each) || each < 0 || each >= position - open || (!isFirst && each <= positions[i - 1]!)) return undefined
  }
  const start = count * 8
  return savedLayers(config, position, positions, (length) =>
    bytes.byteLength === start + length * 4 ? new Float32Array(bytes.buffer, bytes.byteOffset + start, length) : undefined,
  )
}
