import type { ModelConfig } from '../config.js'
import { countRouted } from '../routed-layers.js'
import type { CausalModelPlan } from '../model-plan.js'
import { closingRows, contextCount, type Cursor } from '../chunk.js'

/** A byte range of a state. */
export interface ByteRange {
  readonly byteOffset: number
  readonly byteLength: number
}

/** A run of values in a session's state: index of the first float, distance between floats, count. */
export type VisitRun = (start: number, stride: number, count: number) => void

/**
 * Visits everything in a session's state, in an order that depends only on the model and the position: not on panels,
 * capacities or the start of the local buffer. Saving reads in this order and restoring writes in it, with any plan.
 */
export function visitState({ geometry, states }: CausalModelPlan, cursor: Cursor, visit: VisitRun): void {
  const { config, headStride, localCapacity, contextCapacity, windowCapacity, stride } = geometry
  const { heads, dimHead, dim, numExperts, localAttnWindowSize, routedWindowSize } = config
  const { position, base } = cursor
  const context = contextCount(config, position)
  const openRows = position % routedWindowSize

  const keysAndValues = (keys: number, values: number, capacity: number, first: number, end: number) => {
    for (let head = 0; head < heads; head++) {
      const start = head * headStride * capacity
      for (let index = first; index < end; index++) visit(keys + start + Math.floor(index / 8) * headStride * 8 + (index % 8), 8, dimHead)
      for (let index = first; index < end; index++) {
        for (let channel = 0; channel < dimHead; channel += 8) {
          visit(values + start + channel * capacity + index * 8, 1, Math.min(8, dimHead - channel))
        }
      }
    }
  }

  for (const state of states) {
    const firstKey = Math.max(0, position - localAttnWindowSize)
    keysAndValues(state.localKeys.byteOffset / 4, state.localValues.byteOffset / 4, localCapacity, firstKey - base, position - base)
    const { routing } = state
    if (routing === undefined) continue
    for (let expert = 0; expert < numExperts; expert++) {
      visit(routing.openQueryRouterScores.byteOffset / 4 + expert * windowCapacity, 1, openRows)
      visit(routing.openKeyValueRouterScores.byteOffset / 4 + expert * windowCapacity, 1, openRows)
    }
    for (let row = 0; row < openRows; row++) visit(routing.openInputs.byteOffset / 4 + row * stride, 1, dim)
    state.contexts.forEach(({ keys, values }, expert) => {
      visit(routing.contextRouterScores.byteOffset / 4 + expert * contextCapacity, 1, context)
      keysAndValues(keys.byteOffset / 4, values.byteOffset / 4, contextCapacity, 1, context + 1)
    })
  }
}

/** The byte ranges of a session's state that a chunk changes, among those that `visitState` visits afterwards. */
export function changedState({ geometry, states }: CausalModelPlan, before: Cursor, after: Cursor): ByteRange[] {
  const { config, inner, headStride, localCapacity, contextCapacity, contextWords, windowCapacity, stride } = geometry
  const { heads, numExperts, routedWindowSize } = config
  const ranges: ByteRange[] = []
  const words = (start: number, count: number) => ranges.push({ byteOffset: start * 4, byteLength: count * 4 })
  const offset = before.position % routedWindowSize
  const rows = after.position - before.position
  const first = before.position - after.base
  const panels = { first: Math.floor(first / 8), end: Math.ceil((first + rows) / 8) }

  for (const state of states) {
    const keys = state.localKeys.byteOffset / 4
    const values = state.localValues.byteOffset / 4
    if (after.base !== before.base) {
      words(keys, inner * localCapacity)
      words(values, inner * localCapacity)
    } else {
      for (let head = 0; head < heads; head++) {
        const start = head * headStride * localCapacity
        words(keys + start + panels.first * headStride * 8, (panels.end - panels.first) * headStride * 8)
        for (let channel = 0; channel < headStride; channel += 8) words(values + start + channel * localCapacity + first * 8, rows * 8)
      }
    }
    const { routing } = state
    if (routing === undefined) continue
    if (closingRows(config, before.position, rows) > 0) {
      words(routing.contextRouterScores.byteOffset / 4, numExperts * contextCapacity)
      state.contexts.forEach((context) => {
        words(context.keys.byteOffset / 4, contextWords)
        words(context.values.byteOffset / 4, contextWords)
      })
    } else {
      for (let expert = 0; expert < numExperts; expert++) {
        words(routing.openQueryRouterScores.byteOffset / 4 + expert * windowCapacity + offset, rows)
        words(routing.openKeyValueRouterScores.byteOffset / 4 + expert * windowCapacity + offset, rows)
      }
      words(routing.openInputs.byteOffset / 4 + offset * stride, rows * stride)
    }
  }
  return ranges
}

/**
 * Number of floats that `visitState` visits; computed without a plan, since saved bytes may claim any position and must
 * not cause a plan to be made for it.
 */
export function stateLength(config: ModelConfig, position: number): number {
  const { layer, depth } = config
  const { heads, dimHead, dim, numExperts, localAttnWindowSize, routedWindowSize } = layer
  const keyAndValue = 2 * heads * dimHead
  const local = Math.min(position, localAttnWindowSize)
  const openRows = position % routedWindowSize
  const context = contextCount(layer, position)
  const routed = openRows * (2 * numExperts + dim) + numExperts * context * (1 + keyAndValue)
  return depth * local * keyAndValue + countRouted(config) * routed
}

/** The cursor of a sequence whose local buffer contains no more than necessary. */
export function freshPlace({ geometry }: CausalModelPlan, position: number): Cursor {
  return { position, base: Math.floor(Math.max(0, position - geometry.config.localAttnWindowSize) / 8) * 8 }
}
