import type { CompiledProgram, Device, Dispatch } from '../../device/device.js'
import type { Interrupt } from '../../interrupt.js'
import type { Mutex } from '../../mutex.js'
import { type Cursor, describeChunk, nextChunkRows } from '../../plan/chunk.js'
import type { Geometry } from '../../plan/geometry.js'

/** The tokens of one dispatch. */
export interface Chunk {
  /** Index of its place among the inputs and outputs: one for each dispatch, numbered across all submissions. */
  readonly slot: number
  readonly rows: number
  readonly start: Cursor
  readonly end: Cursor
}

/** Dispatches submitted together. */
export type Submission = readonly Dispatch[]

/** Tokens that pass through one program, chunk after chunk. */
export interface ChunkedRun {
  readonly device: Device
  readonly program: CompiledProgram
  readonly geometry: Geometry
  /**
   * Two of the same size if other threads compute: while one is computed, the results of the other are copied out
   * and it is prepared again. Otherwise one.
   */
  readonly submissions: readonly Submission[]
  /** How many of the next submission's dispatches to submit; default: all. */
  readonly limit?: () => number
  readonly start: Cursor
  /** Number of tokens. */
  readonly length: number
  /** Approximate work of a token: see `Dispatch.operations`. */
  readonly operationsPerToken: number
  /** Sets what differs from chunk to chunk besides the header: inputs, bindings, readbacks. */
  readonly prepare: (dispatch: Dispatch, chunk: Chunk) => void
  /** Reads a chunk's results, before its slot is reused. */
  readonly collect?: (dispatch: Dispatch, chunk: Chunk) => void | Promise<void>
  /**
   * Held from a submission's preparation until its results have been collected, if others use the same dispatches. Only
   * with one submission.
   */
  readonly mutex?: Mutex
  /** Called after each submission: may yield to the event loop, and throws if the work should end. */
  readonly yieldPoint?: (tokensDone: number) => Promise<void> | undefined
  /** Ends the work within a dispatch. */
  readonly interrupt: Interrupt | undefined
}

/** A submission in flight. */
interface Flight {
  readonly running: void | Promise<void>
  readonly chunks: readonly { readonly dispatch: Dispatch; readonly chunk: Chunk }[]
}

/**
 * Runs a program over chunk after chunk, a submission at a time.
 * @returns the cursor after the last token. When the promise settles, nothing is running any more, even after an error
 */
export async function runChunks(run: ChunkedRun): Promise<Cursor> {
  const { device, program, geometry, submissions, limit, start, operationsPerToken, prepare, collect, mutex, yieldPoint, interrupt } = run
  const end = start.position + run.length
  const flights: Flight[] = []
  let cursor = start
  let next = 0

  function launch(): void {
    const dispatches = submissions[next]!
    const firstSlot = next * dispatches.length
    const chunks: { dispatch: Dispatch; chunk: Chunk }[] = []
    // only a submission that is still running has to be waited for
    let dependsOn = flights.at(-1)?.chunks.at(-1)?.dispatch
    for (const dispatch of limit ? dispatches.slice(0, limit()) : dispatches) {
      if (cursor.position === end) break
      const before = cursor
      const rows = nextChunkRows(geometry, before.position, end - before.position)
      cursor = describeChunk(dispatch, geometry, before, rows)
      dispatch.operations = rows * operationsPerToken
      dispatch.dependsOn = dependsOn
      dependsOn = dispatch
      const chunk = { slot: firstSlot + chunks.length, rows, start: before, end: cursor }
      prepare(dispatch, chunk)
      chunks.push({ dispatch, chunk })
    }
    const running = device.run(program, chunks.length === 1 ? dispatches[0]! : dispatches.slice(0, chunks.length), interrupt)
    // it may fail before it is waited for
    running?.catch(() => undefined)
    flights.push({ running, chunks })
    next = (next + 1) % submissions.length
  }

  /** Starts all free submissions, and collects the results of the oldest one. */
  async function turn(): Promise<number> {
    while (flights.length < submissions.length && cursor.position < end) launch()
    const { running, chunks } = flights[0]!
    if (running) await running
    flights.shift()
    for (const { dispatch, chunk } of chunks) {
      const collecting = collect?.(dispatch, chunk)
      if (collecting) await collecting
    }
    return chunks.at(-1)!.chunk.end.position - start.position
  }

  try {
    while (cursor.position < end || flights.length > 0) {
      const tokensDone = await (mutex ? mutex.runExclusive(turn, interrupt) : turn())
      const yielding = yieldPoint?.(tokensDone)
      if (yielding) await yielding
    }
  } finally {
    // pending work still uses memory that the caller will release
    await Promise.allSettled(flights.map(async ({ running }) => running))
  }
  return cursor
}
