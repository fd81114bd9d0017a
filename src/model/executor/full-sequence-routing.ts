import {
  BufferIndex,
  DispatchHeader,
  type CompiledProgram,
  type Device,
  type DeviceBuffer,
  type BufferRange,
  type Dispatch,
} from '../../device/device.js'
import type { ResourceScope } from '../../device/resource-scope.js'
import type { Interrupt } from '../../interrupt.js'
import type { Geometry } from '../../plan/geometry.js'
import type { FullSequenceMemory } from '../../plan/ops/full-sequence-ops.js'
import type { RoutingPrograms } from '../../plan/full-sequence-plan.js'
import { retryForMemory } from '../retry-for-memory.js'

/** `RoutingPrograms` of one layer, compiled by a device. */
export interface CompiledRoutingPrograms {
  readonly decisions: CompiledProgram
  readonly routerScores: CompiledProgram
  readonly selections: CompiledProgram
  readonly slots: CompiledProgram
  readonly projections: readonly CompiledProgram[]
}

/** One sequence passing through one layer with full-sequence routing. */
export interface FullSequenceRouting {
  readonly device: Device
  readonly dispatch: Dispatch
  readonly geometry: Geometry
  readonly memory: FullSequenceMemory
  /** Selected tokens per projection. */
  readonly chosenRows: number
  /** The whole sequence's rows, from `inputOffset` on. */
  readonly input: DeviceBuffer
  readonly inputOffset: number
  readonly programs: CompiledRoutingPrograms
  readonly length: number
  /** Whether the caller reads the routing decisions. */
  readonly trace: boolean
  /** Called between chunks: yields to the event loop, and throws if the work should end. */
  readonly yieldPoint: () => Promise<void>
  /** Ends it within a dispatch. */
  readonly interrupt: Interrupt | undefined
}

/** Compiles a layer's programs on a device; `scope` disposes of them. */
export function compileRouting(scope: ResourceScope, programs: RoutingPrograms): CompiledRoutingPrograms {
  return {
    decisions: scope.compile(programs.decisions),
    routerScores: scope.compile(programs.routerScores),
    selections: scope.compile(programs.selections),
    slots: scope.compile(programs.slots),
    projections: programs.projections.map((program) => scope.compile(program)),
  }
}

/**
 * Approximate number of router scores that the passes of one dispatch of selections process per row of a chunk: about
 * ten milliseconds of coordinate descent for 128 rows.
 */
const SELECTION_WORK = 32_000
/** Cost of choosing the largest without a descent, in passes. */
const CHOOSING = 20

/** Number of windows, from this one on, to select for in one dispatch. */
function windowsAtOnce({ config, chunkRows }: Geometry, window: number): number {
  const { nIters, numExperts, routedWindowSize, selection, straightThrough } = config
  const passes = selection === 'top-k' && straightThrough ? CHOOSING : nIters
  return Math.max(1, Math.floor((SELECTION_WORK * chunkRows) / (window * routedWindowSize * numExperts * passes)))
}

/** Location of `memory.queryMask` and `memory.lists`. */
function decisions({ geometry, memory }: FullSequenceRouting, call: DeviceBuffer): BufferRange[] {
  const { numExperts } = geometry.config
  return [
    { memory: call, byteOffset: memory.queryMask.byteOffset, byteLength: numExperts * memory.capacity * 4 },
    { memory: call, byteOffset: memory.lists.byteOffset, byteLength: memory.windows * numExperts * memory.listCapacity * 4 },
  ]
}

/**
 * Decides the routing of every window of the sequence, and projects each chosen (token, expert) pair once. Their number
 * is known only then: this is the one place where a forward may have to return to JavaScript for sizes.
 * @param scope owns what is allocated
 * @returns their keys and values, bound to `dispatch`
 */
export async function selectRouted(sequence: FullSequenceRouting, scope: ResourceScope): Promise<DeviceBuffer | undefined> {
  const { device, dispatch, geometry, memory, chosenRows, input, inputOffset, programs, length, trace, yieldPoint, interrupt } = sequence
  if (memory.windows === 0) return undefined
  const { numExperts } = geometry.config
  const rowBytes = geometry.stride * 4
  const call = dispatch.buffers[BufferIndex.Call]!
  call.clear(memory.slots.byteOffset, numExperts * memory.capacity * 4)

  // if slots are reserved for the maximum, the host need not wait to learn how many are used
  const bounded = memory.slotStride > 0
  const results = bounded ? [] : [{ memory: call, byteOffset: memory.counts.byteOffset, byteLength: numExperts * 4 }]
  if (trace) results.push(...decisions(sequence, call))
  const takeRows = (start: number) => {
    dispatch.bind(BufferIndex.Input, input, inputOffset + start * rowBytes, (length - start) * rowBytes)
    dispatch.set(DispatchHeader.Rows, Math.min(memory.routerScoreRows, length - start))
    dispatch.set(DispatchHeader.FirstRow, start)
  }
  const takeWindows = (window: number, windows: number) => {
    dispatch.set(DispatchHeader.Window, window)
    dispatch.set(DispatchHeader.Windows, windows)
  }
  if (length <= memory.routerScoreRows && windowsAtOnce(geometry, 1) >= memory.windows) {
    takeRows(0)
    takeWindows(1, memory.windows)
    dispatch.readbacks = results
    await device.run(programs.decisions, dispatch, interrupt)
  } else {
    for (let start = 0; start < length; start += memory.routerScoreRows) {
      takeRows(start)
      await device.run(programs.routerScores, dispatch, interrupt)
      await yieldPoint()
    }
    for (let window = 1; window <= memory.windows;) {
      const windows = Math.min(windowsAtOnce(geometry, window), memory.windows + 1 - window)
      takeWindows(window, windows)
      await device.run(programs.selections, dispatch, interrupt)
      await yieldPoint()
      window += windows
    }
    dispatch.readbacks = results
    await device.run(programs.slots, dispatch, interrupt)
  }
  dispatch.readbacks = []

  const counts = bounded ? new Int32Array(numExperts).fill(memory.slotStride) : call.readInts(memory.counts.byteOffset, numExperts)
  const pairBytes = 2 * geometry.inner * 4
  const bytes = counts.reduce((sum, count) => sum + count, 0) * pairBytes
  const keyValues = await retryForMemory(() => scope.allocate(bytes, 'the keys and values of routed tokens'))
  dispatch.bind(BufferIndex.Input, input, inputOffset, length * rowBytes)
  let slot = 0
  for (const [expert, count] of counts.entries()) {
    for (const end = slot + count; slot < end;) {
      const rows = Math.min(chosenRows, end - slot)
      dispatch.set(DispatchHeader.Rows, rows)
      dispatch.bind(BufferIndex.SelectedPositions, call, memory.positions.byteOffset + slot * 4)
      dispatch.bind(BufferIndex.KeyValues, keyValues, slot * pairBytes)
      await device.run(programs.projections[expert]!, dispatch, interrupt)
      await yieldPoint()
      slot += rows
    }
  }
  dispatch.bind(BufferIndex.KeyValues, keyValues)
  return keyValues
}
