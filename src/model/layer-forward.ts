import { type CompiledProgram, type Device, type DeviceBuffer, type Range, Run } from '../device/device.js'
import type { Interrupt } from '../interrupt.js'
import { type Geometry, workPerToken } from '../plan/geometry.js'
import type { LayerParameters } from '../plan/layer-plan.js'
import { describePiece, nextPieceRows, type Place } from '../plan/piece.js'
import type { Tensor } from '../tensor.js'
import { breathe } from '../breathe.js'
import type { TracedCall } from './layer-trace.js'
import type { Resources } from './resources.js'

/** One checked call of a layer. */
export interface LayerForward extends TracedCall {
  readonly device: Device
  /** Ends it: with `DISPOSED`, for one. */
  readonly interrupt: Interrupt
  readonly parameters: LayerParameters
  readonly weights: DeviceBuffer
  readonly x: Float32Array
  readonly angles: Tensor | undefined
  /** Called in the turn of the call, where `x` and `angles` will not be read again; without it they are nobody else's and stay as they are. */
  readonly inputsRead?: (() => void) | undefined
}

/** One sequence's pieces, as many at a time as one of the `groups` of runs has. */
interface Pieces {
  readonly forward: LayerForward
  readonly geometry: Geometry
  readonly program: CompiledProgram
  readonly groups: RunGroups
  /** Binds what differs from piece to piece. */
  readonly prepare: (run: Run, slot: number, position: number, rows: number) => void
  /** What `collect` reads. */
  readonly results: (slot: number, rows: number) => readonly Range[]
  readonly collect: (slot: number, position: number, rows: number) => void
  readonly pause: () => Promise<void>
}

/**
 * Runs that are handed over together; their inputs and outputs lie in slots, numbered through all groups. Where other threads compute there are two: the
 * results of one are copied out, and it is prepared anew, while the other is computed.
 */
export type RunGroups = readonly (readonly Run[])[]

/** A group that has been handed over. */
interface Flight {
  readonly running: void | Promise<void>
  readonly collect: () => void
}

export async function runPieces({ forward, geometry, program, groups, prepare, results, collect, pause }: Pieces): Promise<void> {
  const { device, config, length, interrupt } = forward
  let place: Place = { position: 0, base: 0 }
  let earlier: Run | undefined

  function launch(turn: number): Flight {
    const runs = groups[turn]!
    const firstSlot = turn * runs.length
    const pieces: { position: number; rows: number }[] = []
    for (const run of runs) {
      const { position } = place
      if (position === length) break
      const rows = nextPieceRows(geometry, position, length - position)
      prepare(run, firstSlot + pieces.length, position, rows)
      run.work = rows * workPerToken(config)
      run.results = results(firstSlot + pieces.length, rows)
      run.earlier = earlier
      earlier = run
      place = describePiece(run, geometry, place, rows)
      pieces.push({ position, rows })
    }
    const running = device.run(program, pieces.length === 1 ? runs[0]! : runs.slice(0, pieces.length), interrupt)
    // it may fail before its turn to be waited for comes
    running?.catch(() => undefined)
    return {
      running,
      collect: () => pieces.forEach(({ position, rows }, index) => collect(firstSlot + index, position, rows)),
    }
  }

  const flights: Flight[] = []
  try {
    for (let turn = 0; place.position < length || flights.length > 0; turn = (turn + 1) % groups.length) {
      if (flights.length === groups.length || place.position === length) {
        const { running, collect } = flights[0]!
        if (running) await running
        flights.shift()
        collect()
        await pause()
      }
      if (place.position < length) flights.push(launch(turn))
    }
  } finally {
    // what is under way still uses what the caller will give back
    await Promise.allSettled(flights.map(async ({ running }) => running))
  }
}

/** Between runs: turns the event loop now and then, and ends work on what was disposed. */
export function createPause(forward: LayerForward): () => Promise<void> {
  return async () => {
    await breathe()
    forward.interrupt.check()
  }
}

/** As many runs as the device takes at once, each bound to one lane's memory; a trace is read after each piece. */
export function createRuns({ device, trace }: LayerForward, lanes: number, bind: (run: Run, lane: number) => void): RunGroups {
  const { batch } = device
  const groups = Array.from({ length: trace || batch === 1 ? 1 : 2 }, () => Array.from({ length: trace ? 1 : batch }, () => new Run()))
  for (const group of groups) {
    group.forEach((run, index) => {
      run.lane = index % lanes
      bind(run, run.lane)
    })
  }
  return groups
}

export function writeAngles(resources: Resources, angles: Tensor | undefined): DeviceBuffer | undefined {
  if (!angles) return undefined
  const buffer = resources.allocate(angles.data.byteLength, "the rotary angles' table")
  buffer.write(angles.data, 0)
  return buffer
}
