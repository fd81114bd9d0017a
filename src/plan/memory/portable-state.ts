import type { DeviceBuffer } from '../../device/device.js'
import type { ModelConfig } from '../config.js'
import type { Geometry } from '../geometry.js'
import type { CausalModelPlan } from '../model-plan.js'
import { closingRows, type Cursor, firstBase, heldCount, inputRow } from '../chunk.js'
import type { RoutingState } from './layer-memory.js'
import { positionCount, type SavedLayer, savedLayers } from './saved-state.js'

/** A byte range of a state. */
export interface ByteRange {
  readonly byteOffset: number
  readonly byteLength: number
}

const WORD = 2 ** 32

/** The cursor of a sequence whose local buffer contains no more than necessary. */
export function freshCursor({ geometry }: CausalModelPlan, position: number): Cursor {
  return { position, base: firstBase(geometry.config, position) }
}

/** The positions of an expert's first `count` context tokens. */
export function contextPositions(
  { contextCapacity }: Geometry,
  { contextPositions: positions }: RoutingState,
  expert: number,
  count: number,
  state: DeviceBuffer,
): Float64Array {
  const words = state.readInts(positions.byteOffset + expert * contextCapacity * 8, 2 * count)
  return Float64Array.from({ length: count }, (_, i) => (words[2 * i]! >>> 0) + words[2 * i + 1]! * WORD)
}

/**
 * Saves the state in a buffer. It depends only on the model and the tokens: not on the plan or how they came.
 * @param before bytes left free in front of it, a multiple of 4
 * @param after bytes left free behind it
 */
export function exportState(
  config: ModelConfig,
  { geometry, states }: CausalModelPlan,
  { position }: Cursor,
  state: DeviceBuffer,
  before: number,
  after: number,
): Uint8Array<ArrayBuffer> {
  const { contextCapacity, windowCapacity, stride } = geometry
  const { dim, numExperts } = config.layer
  const context = heldCount(config.layer, position)
  const positions = new Float64Array(positionCount(config, position))
  let at = 0
  for (const { routing } of states) {
    for (let expert = 0; routing && expert < numExperts; expert++, at += context) {
      positions.set(contextPositions(geometry, routing, expert, context, state), at)
    }
  }
  let bytes = new Uint8Array(0)
  const layers = savedLayers(config, position, positions, (length) => {
    bytes = new Uint8Array(before + positions.byteLength + length * 4 + after)
    bytes.set(new Uint8Array(positions.buffer), before)
    return new Float32Array(bytes.buffer, before + positions.byteLength, length)
  })
  layers?.forEach(({ experts, held, inputs }, index) => {
    const { recentInputs, contexts, routing } = states[index]!
    const read = (to: Float32Array, byteOffset: number) => to.set(state.readFloats(byteOffset, to.length))
    experts?.forEach((expert, r) => {
      read(expert.contextRouterScores, routing!.contextRouterScores.byteOffset + r * contextCapacity * 4)
      read(expert.openQueryRouterScores, routing!.openQueryRouterScores.byteOffset + r * windowCapacity * 4)
      read(expert.openKeyValueRouterScores, routing!.openKeyValueRouterScores.byteOffset + r * windowCapacity * 4)
      expert.positions.forEach((each, rank) => {
        if (each >= held.firstRecent) return
        state.readRows(inputs, held.indexOf(each) * dim, 1, dim, stride, contexts[r]!.inputs!.byteOffset + rank * stride * 4)
      })
    })
    for (const { first, rows } of consecutiveInputs(geometry, held.firstRecent, position)) {
      const byteOffset = recentInputs.byteOffset + inputRow(geometry, first) * stride * 4
      state.readRows(inputs, held.indexOf(first) * dim, rows, dim, stride, byteOffset)
    }
  })
  return bytes
}

/**
 * Writes what was saved of a state, without keys and values.
 * @param write into a state's buffer, or what will be copied there; both are zero otherwise
 */
export function importState(
  { geometry, states }: CausalModelPlan,
  { position }: Cursor,
  layers: readonly SavedLayer[],
  write: (values: Float32Array | Int32Array, byteOffset: number) => void,
): void {
  const { config, contextCapacity, windowCapacity, stride } = geometry
  const { dim } = config
  layers.forEach(({ experts, held, inputs }, index) => {
    const { recentInputs, contexts, routing } = states[index]!
    /** Inputs of consecutive positions: all at once where they lie side by side, since a view of each row is garbage. */
    const writeInputs = (first: number, rows: number, byteOffset: number) => {
      const values = inputs.subarray(held.indexOf(first) * dim, (held.indexOf(first) + rows) * dim)
      if (dim === stride) return write(values, byteOffset)
      for (let row = 0; row < rows; row++) write(values.subarray(row * dim, (row + 1) * dim), byteOffset + row * stride * 4)
    }
    experts?.forEach((expert, r) => {
      write(expert.contextRouterScores, routing!.contextRouterScores.byteOffset + r * contextCapacity * 4)
      write(expert.openQueryRouterScores, routing!.openQueryRouterScores.byteOffset + r * windowCapacity * 4)
      write(expert.openKeyValueRouterScores, routing!.openKeyValueRouterScores.byteOffset + r * windowCapacity * 4)
      const words = new Int32Array(2 * expert.positions.length)
      expert.positions.forEach((each, rank) => {
        words[2 * rank] = each | 0
        words[2 * rank + 1] = Math.floor(each / WORD)
      })
      write(words, routing!.contextPositions.byteOffset + r * contextCapacity * 8)
      expert.positions.forEach((each, rank) => writeInputs(each, 1, contexts[r]!.inputs!.byteOffset + rank * stride * 4))
    })
    for (const { first, rows } of consecutiveInputs(geometry, held.firstRecent, position)) {
      writeInputs(first, rows, recentInputs.byteOffset + inputRow(geometry, first) * stride * 4)
    }
  })
}

/** The recent inputs of positions `first` … `end` - 1, in contiguous ranges. */
function* consecutiveInputs(geometry: Geometry, first: number, end: number): Generator<{ first: number; rows: number }> {
  for (let at = first; at < end;) {
    const rows = Math.min(end - at, geometry.inputRows - inputRow(geometry, at))
    yield { first: at, rows }
    at += rows
  }
}

/**
 * The byte ranges that a token changes which closes a window, of what is saved of a state: contexts, and the open window's
 * router scores, whose places its own window takes.
 */
export function closedContexts({ geometry, states }: CausalModelPlan): ByteRange[] {
  const { config, contextCapacity, contextRows, windowCapacity, stride } = geometry
  const { numExperts } = config
  const openScores = 4 * numExperts * windowCapacity
  return states.flatMap(({ contexts, routing }) => {
    if (routing === undefined) return []
    return [
      { byteOffset: routing.openQueryRouterScores.byteOffset, byteLength: openScores },
      { byteOffset: routing.openKeyValueRouterScores.byteOffset, byteLength: openScores },
      { byteOffset: routing.contextRouterScores.byteOffset, byteLength: 4 * numExperts * contextCapacity },
      { byteOffset: routing.contextPositions.byteOffset, byteLength: 8 * numExperts * contextCapacity },
      ...contexts.map(({ inputs }) => ({ byteOffset: inputs!.byteOffset, byteLength: 4 * contextRows * stride })),
    ]
  })
}

/** The byte ranges that a chunk changes of what is saved of a state. */
export function changedState(plan: CausalModelPlan, before: Cursor, after: Cursor): ByteRange[] {
  const { geometry, states } = plan
  const { config, windowCapacity, stride } = geometry
  const { numExperts, routedWindowSize } = config
  const ranges: ByteRange[] = []
  const words = (start: number, count: number) => ranges.push({ byteOffset: start * 4, byteLength: count * 4 })
  const offset = before.position % routedWindowSize
  const rows = after.position - before.position

  const isClosing = closingRows(config, before.position) > 0
  if (isClosing) ranges.push(...closedContexts(plan))
  for (const { recentInputs, routing } of states) {
    for (const range of consecutiveInputs(geometry, before.position, after.position)) {
      words(recentInputs.byteOffset / 4 + inputRow(geometry, range.first) * stride, range.rows * stride)
    }
    if (routing === undefined || isClosing) continue
    for (let expert = 0; expert < numExperts; expert++) {
      words(routing.openQueryRouterScores.byteOffset / 4 + expert * windowCapacity + offset, rows)
      words(routing.openKeyValueRouterScores.byteOffset / 4 + expert * windowCapacity + offset, rows)
    }
  }
  return ranges
}
