import { type CompiledProgram, type Device, type DeviceBuffer, type BufferRange, Dispatch } from '../../device/device.js'
import type { Interrupt } from '../../interrupt.js'
import { type Geometry, workPerToken } from '../../plan/geometry.js'
import type { LayerParameters } from '../../plan/layer-plan.js'
import { describeChunk, nextChunkRows, type Cursor } from '../../plan/chunk.js'
import type { Tensor } from '../../tensor.js'
import { yieldToEventLoop } from '../../event-loop.js'
import type { TracedCall } from './layer-trace.js'
import type { ResourceScope } from '../../device/resource-scope.js'

/** One checked call of a layer. */
export interface LayerForward extends TracedCall {
  readonly device: Device
  /** Ends it, for instance with `DISPOSED`. */
  readonly interrupt: Interrupt
  readonly parameters: LayerParameters
  readonly weights: DeviceBuffer
  readonly x: Float32Array
  readonly angles: Tensor | undefined
  /**
   * Called synchronously once `x` and `angles` will not be read again; if absent, they belong to this call and do not
   * change.
   */
  readonly inputsRead?: (() => void) | undefined
}

/** The chunks of one sequence, processed in groups as large as those of `groups`. */
interface Chunks {
  readonly forward: LayerForward
  readonly geometry: Geometry
  readonly program: CompiledProgram
  readonly groups: DispatchGroups
  /** Binds what differs from chunk to chunk. */
  readonly prepare: (dispatch: Dispatch, slot: number, position: number, rows: number) => void
  /** The ranges that `collect` reads. */
  readonly results: (slot: number, rows: number) => readonly BufferRange[]
  readonly collect: (slot: number, position: number, rows: number) => void
  readonly yieldPoint: () => Promise<void>
}

/**
 * Dispatches submitted together; their inputs and outputs are in slots, numbered across all groups. If other threads
 * compute there are two groups: while one is computed, the results of the other are copied out and it is prepared
 * again.
 */
export type DispatchGroups = readonly (readonly Dispatch[])[]

/** A group that has been submitted. */
interface Flight {
  readonly running: void | Promise<void>
  readonly collect: () => void
}

export async function runChunks({ forward, geometry, program, groups, prepare, results, collect, yieldPoint }: Chunks): Promise<void> {
  const { device, config, length, interrupt } = forward
  let cursor: Cursor = { position: 0, base: 0 }
  let dependsOn: Dispatch | undefined

  function launch(group: number): Flight {
    const dispatches = groups[group]!
    const firstSlot = group * dispatches.length
    const chunks: { position: number; rows: number }[] = []
    for (const dispatch of dispatches) {
      const { position } = cursor
      if (position === length) break
      const rows = nextChunkRows(geometry, position, length - position)
      prepare(dispatch, firstSlot + chunks.length, position, rows)
      dispatch.operations = rows * workPerToken(config)
      dispatch.readbacks = results(firstSlot + chunks.length, rows)
      dispatch.dependsOn = dependsOn
      dependsOn = dispatch
      cursor = describeChunk(dispatch, geometry, cursor, rows)
      chunks.push({ position, rows })
    }
    const running = device.run(program, chunks.length === 1 ? dispatches[0]! : dispatches.slice(0, chunks.length), interrupt)
    // it may fail before it is waited for
    running?.catch(() => undefined)
    return {
      running,
      collect: () => chunks.forEach(({ position, rows }, index) => collect(firstSlot + index, position, rows)),
    }
  }

  const flights: Flight[] = []
  try {
    for (let group = 0; cursor.position < length || flights.length > 0; group = (group + 1) % groups.length) {
      if (flights.length === groups.length || cursor.position === length) {
        const { running, collect } = flights[0]!
        if (running) await running
        flights.shift()
        collect()
        await yieldPoint()
      }
      if (cursor.position < length) flights.push(launch(group))
    }
  } finally {
    // pending work still uses memory that the caller will release
    await Promise.allSettled(flights.map(async ({ running }) => running))
  }
}

/** Called between dispatches: yields to the event loop now and then, and ends work on disposed objects. */
export function createYieldPoint(forward: LayerForward): () => Promise<void> {
  return async () => {
    await yieldToEventLoop()
    forward.interrupt.check()
  }
}

/**
 * As many dispatches as the device takes at once, each bound to one worker group's memory; a trace is read after each
 * chunk.
 */
export function createDispatches(
  { device, trace }: LayerForward,
  workerGroups: number,
  bind: (dispatch: Dispatch, workerGroup: number) => void,
): DispatchGroups {
  const { batch } = device
  const groups = Array.from({ length: trace || batch === 1 ? 1 : 2 }, () => Array.from({ length: trace ? 1 : batch }, () => new Dispatch()))
  for (const group of groups) {
    group.forEach((dispatch, index) => {
      dispatch.workerGroup = index % workerGroups
      bind(dispatch, dispatch.workerGroup)
    })
  }
  return groups
}

export function writeAngles(scope: ResourceScope, angles: Tensor | undefined): DeviceBuffer | undefined {
  if (!angles) return undefined
  const buffer = scope.allocate(angles.data.byteLength, "the rotary angles' table")
  buffer.write(angles.data, 0)
  return buffer
}
