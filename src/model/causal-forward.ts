import { Buffer } from '../device/device.js'
import { planCausalLayer } from '../plan/layer-plan.js'
import { contextCount } from '../plan/piece.js'
import { createPause, createRuns, type LayerForward, runPieces, writeAngles } from './layer-forward.js'
import { type LayerTrace, TraceBuilder } from './layer-trace.js'
import { Resources } from './resources.js'

/** A strictly causal layer: piece after piece through one program, as a session does, so memory does not grow with n. */
export async function causalForward(forward: LayerForward): Promise<LayerTrace> {
  const { device, config, parameters, x, batch, length, trace } = forward
  const result = new TraceBuilder(forward)
  if (batch * length === 0) return result.finish()
  const { dim, numExperts, routedWindowSize } = config
  const plan = planCausalLayer(config, parameters, { length, angleWidth: forward.angles?.shape[1], trace, capacity: device })
  const { geometry } = plan
  const resources = new Resources(device)
  try {
    const pieceBytes = geometry.pieceRows * geometry.stride * 4
    const lanes = device.lanes(plan.scratchBytes)
    const scratch = resources.allocate(lanes * plan.scratchBytes, "the layer's working memory")
    const state = resources.allocate(plan.stateBytes, "the sequence's state")
    const local = trace ? resources.allocate(pieceBytes, 'the trace') : undefined
    const angles = writeAngles(resources, forward.angles)
    const open = resources.compile(plan.open)
    const program = resources.compile(plan.piece)
    const groups = createRuns(forward, lanes, (run, lane) => {
      run.bind(Buffer.Weights, forward.weights)
      run.bind(Buffer.Scratch, scratch, lane * plan.scratchBytes)
      run.bind(Buffer.State, state)
      if (angles) run.bind(Buffer.Angles, angles)
      if (local) run.bind(Buffer.LocalOutput, local)
    })
    const slots = groups.flat().length
    const input = resources.allocate(slots * pieceBytes, "the pieces' inputs")
    const output = resources.allocate(slots * pieceBytes, "the pieces' outputs")
    for (let sequence = 0; sequence < batch; sequence++) {
      state.clear()
      device.runHere(open, groups[0]![0]!)
      await runPieces({
        forward,
        geometry,
        program,
        groups,
        prepare: (run, slot, position, rows) => {
          const start = (sequence * length + position) * dim
          input.writeRows(x.subarray(start, start + rows * dim), dim, geometry.stride, slot * pieceBytes)
          run.bind(Buffer.Input, input, slot * pieceBytes)
          run.bind(Buffer.Output, output, slot * pieceBytes)
          if (trace && position >= routedWindowSize && position % routedWindowSize === 0) traceContexts(sequence, position)
        },
        results: (slot, rows) => {
          const rowBytes = geometry.stride * 4
          const out = { memory: output, byteOffset: slot * pieceBytes, byteLength: rows * rowBytes }
          if (!local) return [out]
          const { queryCounts, queryLists } = plan.scratch
          return [
            out,
            { memory: local, byteOffset: 0, byteLength: rows * rowBytes },
            { memory: scratch, byteOffset: queryCounts.byteOffset, byteLength: numExperts * 4 },
            { memory: scratch, byteOffset: queryLists.byteOffset, byteLength: numExperts * geometry.pieceRows * 4 },
            { memory: state, byteOffset: plan.state.contextPositions.byteOffset, byteLength: numExperts * geometry.contextCapacity * 4 },
          ]
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
      const count = contextCount(geometry.numbers, position)
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
