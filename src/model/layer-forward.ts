import { type CompiledProgram, type Device, type DeviceBuffer, Run } from '../device/device.js'
import { type Geometry, workPerToken } from '../plan/geometry.js'
import type { LayerParameters } from '../plan/layer-plan.js'
import { describePiece, nextPieceRows, type Place } from '../plan/piece.js'
import type { Tensor } from '../tensor.js'
import { breathe } from './breathe.js'
import type { TracedCall } from './layer-trace.js'
import type { Resources } from './resources.js'

/** One checked call of a layer. */
export interface LayerForward extends TracedCall {
  readonly device: Device
  /** @throws RoutedAttentionError `DISPOSED` */
  readonly assertUsable: () => void
  readonly parameters: LayerParameters
  readonly weights: DeviceBuffer
  /** The caller's: read before the first wait, or copied. */
  readonly x: Float32Array
  readonly angles: Tensor | undefined
}

/** One sequence's pieces, as many at a time as there are `runs`. */
interface Pieces {
  readonly forward: LayerForward
  readonly geometry: Geometry
  readonly program: CompiledProgram
  readonly runs: readonly Run[]
  /** Binds what differs from piece to piece. */
  readonly prepare: (run: Run, slot: number, position: number, rows: number) => void
  readonly collect: (slot: number, position: number, rows: number) => void
  readonly pause: () => Promise<void>
}

export async function runPieces({ forward, geometry, program, runs, prepare, collect, pause }: Pieces): Promise<void> {
  const { device, config, length } = forward
  for (let place: Place = { position: 0, base: 0 }; place.position < length;) {
    const pieces: { position: number; rows: number }[] = []
    for (const run of runs) {
      const { position } = place
      if (position === length) break
      const rows = nextPieceRows(geometry, position, length - position)
      prepare(run, pieces.length, position, rows)
      run.work = rows * workPerToken(config)
      place = describePiece(run, geometry, place, rows)
      pieces.push({ position, rows })
    }
    await device.run(program, pieces.length === 1 ? runs[0]! : runs.slice(0, pieces.length))
    for (const [slot, { position, rows }] of pieces.entries()) collect(slot, position, rows)
    await pause()
  }
}

/** Between runs: turns the event loop now and then, and ends work on what was disposed. */
export function createPause(forward: LayerForward): () => Promise<void> {
  return async () => {
    await breathe()
    forward.assertUsable()
  }
}

/** As many runs as the device takes at once, all bound alike; a trace is read after each piece. */
export function createRuns({ device, trace }: LayerForward, bind: (run: Run) => void): readonly Run[] {
  const runs = Array.from({ length: trace ? 1 : device.batch }, () => new Run())
  runs.forEach(bind)
  return runs
}

export function writeAngles(resources: Resources, angles: Tensor | undefined): DeviceBuffer | undefined {
  if (!angles) return undefined
  const buffer = resources.allocate(angles.data.byteLength, "the rotary angles' table")
  buffer.write(angles.data, 0)
  return buffer
}
