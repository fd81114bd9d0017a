import { Buffer, Piece } from '../../assembly/steps.js'
import { type CompiledProgram, type Device, type DeviceBuffer, Run } from '../device/device.js'
import { type Geometry, workPerToken } from '../plan/geometry.js'
import { type LayerParameters, planCausalLayer, planSequenceLayer } from '../plan/layer-plan.js'
import { contextCount, describePiece, nextPieceRows, type Place } from '../plan/piece.js'
import { Tensor } from '../tensor.js'
import { Breather } from './breathe.js'
import type { LayerConfig } from './config.js'
import { Resources } from './resources.js'
import { decideRouting, type RoutedSequence } from './sequence-run.js'

/** What a traced forward returns. */
export interface LayerTrace {
  /** (batch, n, dim). */
  readonly out: Tensor
  /** (batch, n, dim): local attention alone, never averaged. */
  readonly localOut: Tensor
  /** (batch, windows, experts, window): 1 where a token of window 1, 2, … is the expert's query, else 0. */
  readonly routedQueries: Tensor
  /** (batch, windows, experts, k): positions of the key/values of window 1, 2, …, ascending; empty places, -1, come first. */
  readonly keyValueIndices: Tensor
}

/** One checked call of a layer. */
export interface LayerForward {
  readonly device: Device
  /** @throws RoutedAttentionError `DISPOSED` */
  readonly assertUsable: () => void
  readonly config: LayerConfig
  readonly parameters: LayerParameters
  readonly weights: DeviceBuffer
  /** The caller's: read before the first wait, or copied. */
  readonly x: Float32Array
  readonly batch: number
  readonly length: number
  readonly angles: Tensor | undefined
  readonly trace: boolean
}

/** The tensors of a trace, while they fill; without one only `out` has room. */
class TraceBuilder {
  readonly #config: LayerConfig
  readonly #windows: number
  readonly #places: number
  readonly #trace: LayerTrace

  /** @throws RoutedAttentionError `OUT_OF_MEMORY` */
  constructor({ config, batch, length, trace }: LayerForward) {
    const { dim, numExperts, routedWindowSize, numRoutedKeyValues } = config
    this.#config = config
    this.#windows = Math.max(0, Math.ceil(length / routedWindowSize) - 1)
    this.#places = Math.min(numRoutedKeyValues, this.#windows * routedWindowSize)
    const zeros = (...shape: number[]) => Tensor.zeros(trace ? shape : [0])
    this.#trace = {
      out: Tensor.zeros([batch, length, dim]),
      localOut: zeros(batch, length, dim),
      routedQueries: zeros(batch, this.#windows, numExperts, routedWindowSize),
      keyValueIndices: zeros(batch, this.#windows, numExperts, this.#places),
    }
    this.#trace.keyValueIndices.data.fill(-1)
  }

  get out(): Float32Array {
    return this.#trace.out.data
  }

  get localOut(): Float32Array {
    return this.#trace.localOut.data
  }

  /** Marks a token of a window (from 1) as an expert's query. */
  query(sequence: number, window: number, expert: number, token: number): void {
    this.#trace.routedQueries.data[this.#pair(sequence, window, expert) * this.#config.routedWindowSize + token] = 1
  }

  /** An expert's key/values for a window (from 1). */
  keyValues(sequence: number, window: number, expert: number, positions: Int32Array): void {
    this.#trace.keyValueIndices.data.set(positions, (this.#pair(sequence, window, expert) + 1) * this.#places - positions.length)
  }

  finish(): LayerTrace {
    return this.#trace
  }

  #pair(sequence: number, window: number, expert: number): number {
    return (sequence * this.#windows + window - 1) * this.#config.numExperts + expert
  }
}

/** @throws RoutedAttentionError `OUT_OF_MEMORY` */
function copyOf(values: Float32Array): Float32Array {
  const copy = Tensor.zeros([values.length]).data
  copy.set(values)
  return copy
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

async function runPieces({ forward, geometry, program, runs, prepare, collect, pause }: Pieces): Promise<void> {
  const { device, config, length } = forward
  for (let place: Place = { position: 0, base: 0 }; place.position < length; ) {
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
function createPause(forward: LayerForward): () => Promise<void> {
  const breather = new Breather()
  return async () => {
    await breather.breathe()
    forward.assertUsable()
  }
}

/** As many runs as the device takes at once, all bound alike; a trace is read after each piece. */
function createRuns({ device, trace }: LayerForward, bind: (run: Run) => void): readonly Run[] {
  const runs = Array.from({ length: trace ? 1 : device.batch }, () => new Run())
  runs.forEach(bind)
  return runs
}

function writeAngles(resources: Resources, angles: Tensor | undefined): DeviceBuffer | undefined {
  if (!angles) return undefined
  const buffer = resources.allocate(angles.data.byteLength, "the rotary angles' table")
  buffer.write(angles.data, 0)
  return buffer
}

/** A strictly causal layer: piece after piece through one program, as a session does, so memory does not grow with n. */
export async function causalForward(forward: LayerForward): Promise<LayerTrace> {
  const { device, config, parameters, batch, length, trace } = forward
  const result = new TraceBuilder(forward)
  if (batch * length === 0) return result.finish()
  const { dim, numExperts, routedWindowSize } = config
  // pieces are taken from it over time, and what is computed is what the caller's tensor held at the call
  const x = copyOf(forward.x)
  const plan = planCausalLayer(config, parameters, { length, angleWidth: forward.angles?.shape[1], trace, shares: device.shares })
  const { geometry } = plan
  const resources = new Resources(device)
  try {
    const pieceBytes = geometry.pieceRows * geometry.stride * 4
    const slots = trace ? 1 : device.batch
    const scratch = resources.allocate(plan.scratchBytes, "the layer's working memory")
    const state = resources.allocate(plan.stateBytes, "the sequence's state")
    const input = resources.allocate(slots * pieceBytes, "the pieces' inputs")
    const output = resources.allocate(slots * pieceBytes, "the pieces' outputs")
    const local = trace ? resources.allocate(pieceBytes, 'the trace') : undefined
    const angles = writeAngles(resources, forward.angles)
    const open = resources.compile(plan.open)
    const program = resources.compile(plan.piece)
    const runs = createRuns(forward, (run) => {
      run.bind(Buffer.Weights, forward.weights)
      run.bind(Buffer.Scratch, scratch)
      run.bind(Buffer.State, state)
      if (angles) run.bind(Buffer.Angles, angles)
      if (local) run.bind(Buffer.LocalOutput, local)
    })
    for (let sequence = 0; sequence < batch; sequence++) {
      state.clear()
      device.runHere(open, runs[0]!)
      await runPieces({
        forward,
        geometry,
        program,
        runs,
        prepare: (run, slot, position, rows) => {
          const start = (sequence * length + position) * dim
          input.writeRows(x.subarray(start, start + rows * dim), dim, geometry.stride, slot * pieceBytes)
          run.bind(Buffer.Input, input, slot * pieceBytes)
          run.bind(Buffer.Output, output, slot * pieceBytes)
          if (trace && position >= routedWindowSize && position % routedWindowSize === 0) traceContexts(sequence, position)
        },
        collect: (slot, position, rows) => {
          const start = (sequence * length + position) * dim
          output.readRows(result.out, start, rows, dim, geometry.stride, slot * pieceBytes)
          if (!local) return
          local.readRows(result.localOut, start, rows, dim, geometry.stride, 0)
          traceQueries(sequence, position)
        },
        pause: createPause(forward),
      })
    }

    function traceContexts(sequence: number, position: number): void {
      const count = contextCount(geometry, position)
      for (let expert = 0; expert < numExperts; expert++) {
        const offset = plan.state.contextPositions.byteOffset + expert * geometry.contextCapacity * 4
        result.keyValues(sequence, position / routedWindowSize, expert, state.readInts(offset, count))
      }
    }

    function traceQueries(sequence: number, position: number): void {
      const counts = scratch.readInts(plan.scratch.queryCounts.byteOffset, numExperts)
      const lists = scratch.readInts(plan.scratch.queryLists.byteOffset, numExperts * geometry.pieceRows)
      const window = Math.floor(position / routedWindowSize)
      counts.forEach((count, expert) => {
        for (const row of lists.subarray(expert * geometry.pieceRows, expert * geometry.pieceRows + count)) {
          result.query(sequence, window, expert, (position % routedWindowSize) + row)
        }
      })
    }
  } finally {
    resources.dispose()
  }
  return result.finish()
}

/** A layer with the published routing: what is routed is decided over the whole sequence first, then it is computed piece by piece. */
export async function sequenceForward(forward: LayerForward): Promise<LayerTrace> {
  const { device, config, parameters, batch, length, trace } = forward
  const result = new TraceBuilder(forward)
  if (batch * length === 0) return result.finish()
  const { dim } = config
  const plan = planSequenceLayer(config, parameters, { length, angleWidth: forward.angles?.shape[1], trace, shares: device.shares })
  const { geometry, memory, chosenRows } = plan
  const resources = new Resources(device)
  try {
    const rowBytes = geometry.stride * 4
    const pieceBytes = geometry.pieceRows * rowBytes
    const input = resources.allocate(batch * length * rowBytes, 'the input')
    input.writeRows(forward.x, dim, geometry.stride, 0)
    const output = resources.allocate((trace ? 1 : device.batch) * pieceBytes, "the pieces' outputs")
    const scratch = resources.allocate(plan.scratchLayout.byteLength, "the layer's working memory")
    const state = resources.allocate(plan.stateBytes, "the sequence's keys and values")
    const call = resources.allocate(plan.callBytes, "the sequence's routing")
    const angles = writeAngles(resources, forward.angles)
    const local = trace ? resources.allocate(pieceBytes, 'the trace') : undefined
    const programs = {
      similarities: resources.compile(plan.programs.similarities),
      selections: resources.compile(plan.programs.selections),
      slots: resources.compile(plan.programs.slots),
      projections: plan.programs.projections.map((program) => resources.compile(program)),
      piece: resources.compile(plan.programs.piece),
    }
    const bind = (run: Run) => {
      run.bind(Buffer.Weights, forward.weights)
      run.bind(Buffer.Scratch, scratch)
      run.bind(Buffer.State, state)
      run.bind(Buffer.Call, call)
      if (angles) run.bind(Buffer.Angles, angles)
      if (local) run.bind(Buffer.LocalOutput, local)
      run.set(Piece.Average, Number(config.averageRouted && memory.windows > 0))
      run.set(Piece.SequenceRows, length)
    }
    const runs = createRuns(forward, bind)
    const routing = new Run()
    bind(routing)
    const pause = createPause(forward)

    for (let sequence = 0; sequence < batch; sequence++) {
      const inputOffset = sequence * length * rowBytes
      state.clear()
      const routed: RoutedSequence = { device, run: routing, geometry, memory, chosenRows, input, inputOffset, programs, length, pause }
      const keyValues = await decideRouting(routed)
      try {
        if (trace) traceRouting(sequence)
        await runPieces({
          forward,
          geometry,
          program: programs.piece,
          runs,
          prepare: (run, slot, position) => {
            run.bind(Buffer.Input, input, inputOffset + position * rowBytes)
            run.bind(Buffer.Output, output, slot * pieceBytes)
            if (keyValues) run.bind(Buffer.KeyValues, keyValues)
          },
          collect: (slot, position, rows) => {
            const start = (sequence * length + position) * dim
            output.readRows(result.out, start, rows, dim, geometry.stride, slot * pieceBytes)
            local?.readRows(result.localOut, start, rows, dim, geometry.stride, 0)
          },
          pause,
        })
      } finally {
        keyValues?.dispose()
      }
    }

    function traceRouting(sequence: number): void {
      const { numExperts, routedWindowSize } = config
      for (let expert = 0; expert < numExperts; expert++) {
        const taken = call.readInts(memory.taken.byteOffset + expert * memory.capacity * 4, length)
        for (let position = routedWindowSize; position < length; position++) {
          if (taken[position]) result.query(sequence, Math.floor(position / routedWindowSize), expert, position % routedWindowSize)
        }
        for (let window = 1; window <= memory.windows; window++) {
          const list = ((window - 1) * numExperts + expert) * memory.listCapacity
          const count = contextCount(geometry, window * routedWindowSize)
          result.keyValues(sequence, window, expert, call.readInts(memory.lists.byteOffset + list * 4, count))
        }
      }
    }
  } finally {
    resources.dispose()
  }
  return result.finish()
}
