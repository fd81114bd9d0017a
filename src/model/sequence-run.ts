import { Buffer, Piece, type CompiledProgram, type Device, type DeviceBuffer, type Range, type Run } from '../device/device.js'
import type { Interrupt } from '../interrupt.js'
import type { Geometry } from '../plan/geometry.js'
import type { SequenceMemory } from '../plan/sequence-steps.js'
import { retryForMemory } from './retry.js'

/** `SequencePrograms` of one layer, taken in by a device. */
export interface CompiledSequencePrograms {
  readonly decisions: CompiledProgram
  readonly similarities: CompiledProgram
  readonly selections: CompiledProgram
  readonly slots: CompiledProgram
  readonly projections: readonly CompiledProgram[]
  readonly piece: CompiledProgram
}

/** One sequence on its way through one layer with the published routing. */
export interface RoutedSequence {
  readonly device: Device
  readonly run: Run
  readonly geometry: Geometry
  readonly memory: SequenceMemory
  /** Chosen tokens that one projection takes. */
  readonly chosenRows: number
  /** The whole sequence's rows, from `inputOffset` on. */
  readonly input: DeviceBuffer
  readonly inputOffset: number
  readonly programs: CompiledSequencePrograms
  readonly length: number
  /** Whether the caller reads what was decided. */
  readonly trace: boolean
  /** Between pieces: lets the event loop turn, and throws when the work should end. */
  readonly pause: () => Promise<void>
  /** Ends it within a run. */
  readonly interrupt: Interrupt | undefined
}

/**
 * Similarities that passes of one run of selections go over for each row of a piece, about: some ten milliseconds of coordinate descent for 128 of them.
 */
const SELECTION_WORK = 32_000
/** Passes that choosing the largest, without a descent, is worth. */
const CHOOSING = 20

/** How many windows from this one on are selected for in one run. */
function windowsAtOnce({ numbers, pieceRows }: Geometry, window: number): number {
  const { nIters, numExperts, routedWindowSize, selection, straightThrough } = numbers
  const passes = selection === 'top-k' && straightThrough ? CHOOSING : nIters
  return Math.max(1, Math.floor((SELECTION_WORK * pieceRows) / (window * routedWindowSize * numExperts * passes)))
}

/** Where `memory.taken` and `memory.lists` lie. */
function decisions({ geometry, memory }: RoutedSequence, call: DeviceBuffer): Range[] {
  const { numExperts } = geometry.numbers
  return [
    { memory: call, byteOffset: memory.taken.byteOffset, byteLength: numExperts * memory.capacity * 4 },
    { memory: call, byteOffset: memory.lists.byteOffset, byteLength: memory.windows * numExperts * memory.listCapacity * 4 },
  ]
}

/**
 * Decides what every window of the sequence routes, and projects each chosen (token, expert) pair once. How many there are is known only then:
 * this is the one place where a forward may come back for sizes. Returns their keys and values, bound to `run`; the caller disposes of them.
 */
export async function decideRouting(sequence: RoutedSequence): Promise<DeviceBuffer | undefined> {
  const { device, run, geometry, memory, chosenRows, input, inputOffset, programs, length, trace, pause, interrupt } = sequence
  if (memory.windows === 0) return undefined
  const { numExperts } = geometry.numbers
  const rowBytes = geometry.stride * 4
  const call = run.buffers[Buffer.Call]!
  call.clear(memory.chosen.byteOffset, numExperts * memory.capacity * 4)

  // where slots are kept for all that there can be, the host need not wait to know how many are used
  const bounded = memory.slotStride > 0
  const results = bounded ? [] : [{ memory: call, byteOffset: memory.counts.byteOffset, byteLength: numExperts * 4 }]
  if (trace) results.push(...decisions(sequence, call))
  const takeRows = (start: number) => {
    run.bind(Buffer.Input, input, inputOffset + start * rowBytes, (length - start) * rowBytes)
    run.set(Piece.Rows, Math.min(memory.similarityRows, length - start))
    run.set(Piece.FirstRow, start)
  }
  const takeWindows = (window: number, windows: number) => {
    run.set(Piece.Window, window)
    run.set(Piece.Windows, windows)
  }
  if (length <= memory.similarityRows && windowsAtOnce(geometry, 1) >= memory.windows) {
    takeRows(0)
    takeWindows(1, memory.windows)
    run.results = results
    await device.run(programs.decisions, run, interrupt)
  } else {
    for (let start = 0; start < length; start += memory.similarityRows) {
      takeRows(start)
      await device.run(programs.similarities, run, interrupt)
      await pause()
    }
    for (let window = 1; window <= memory.windows;) {
      const windows = Math.min(windowsAtOnce(geometry, window), memory.windows + 1 - window)
      takeWindows(window, windows)
      await device.run(programs.selections, run, interrupt)
      await pause()
      window += windows
    }
    run.results = results
    await device.run(programs.slots, run, interrupt)
  }
  run.results = []

  const counts = bounded ? new Int32Array(numExperts).fill(memory.slotStride) : call.readInts(memory.counts.byteOffset, numExperts)
  const pairBytes = 2 * geometry.inner * 4
  const bytes = counts.reduce((sum, count) => sum + count, 0) * pairBytes
  const keyValues = await retryForMemory(() => device.allocate(bytes, 'the keys and values of routed tokens'))
  try {
    run.bind(Buffer.Input, input, inputOffset, length * rowBytes)
    let slot = 0
    for (const [expert, count] of counts.entries()) {
      for (const end = slot + count; slot < end;) {
        const rows = Math.min(chosenRows, end - slot)
        run.set(Piece.Rows, rows)
        run.bind(Buffer.Chosen, call, memory.positions.byteOffset + slot * 4)
        run.bind(Buffer.KeyValues, keyValues, slot * pairBytes)
        await device.run(programs.projections[expert]!, run, interrupt)
        await pause()
        slot += rows
      }
    }
    run.bind(Buffer.KeyValues, keyValues)
    return keyValues
  } catch (error) {
    keyValues.dispose()
    throw error
  }
}
