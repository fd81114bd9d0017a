import { Buffer, Piece, Run } from '../device/device.js'
import { planSequenceLayer } from '../plan/layer-plan.js'
import { contextCount } from '../plan/piece.js'
import { createPause, createRuns, type LayerForward, runPieces, writeAngles } from './layer-forward.js'
import { type LayerTrace, TraceBuilder } from './layer-trace.js'
import { Resources } from './resources.js'
import { decideRouting, type RoutedSequence } from './sequence-run.js'

/** A layer with the published routing: what is routed is decided over the whole sequence first, then it is computed piece by piece. */
export async function sequenceForward(forward: LayerForward): Promise<LayerTrace> {
  const { device, config, parameters, batch, length, trace } = forward
  const result = new TraceBuilder(forward)
  if (batch * length === 0) return result.finish()
  const { dim } = config
  const plan = planSequenceLayer(config, parameters, { length, angleWidth: forward.angles?.shape[1], trace, capacity: device })
  const { geometry, memory, chosenRows } = plan
  const resources = new Resources(device)
  try {
    const rowBytes = geometry.stride * 4
    const pieceBytes = geometry.pieceRows * rowBytes
    const input = resources.allocate(batch * length * rowBytes, 'the input')
    const scratchBytes = plan.scratchLayout.byteLength
    const lanes = device.lanes(scratchBytes + plan.contextBytes)
    const scratch = resources.allocate(lanes * scratchBytes, "the layer's working memory")
    const contexts = resources.allocate(lanes * plan.contextBytes, "the windows' contexts")
    const state = resources.allocate(plan.stateBytes, "the sequence's keys and values")
    const call = resources.allocate(plan.callBytes, "the sequence's routing")
    const angles = writeAngles(resources, forward.angles)
    const local = trace ? resources.allocate(pieceBytes, 'the trace') : undefined
    const programs = {
      decisions: resources.compile(plan.programs.decisions),
      similarities: resources.compile(plan.programs.similarities),
      selections: resources.compile(plan.programs.selections),
      slots: resources.compile(plan.programs.slots),
      projections: plan.programs.projections.map((program) => resources.compile(program)),
      piece: resources.compile(plan.programs.piece),
    }
    const bind = (run: Run, lane: number) => {
      run.bind(Buffer.Weights, forward.weights)
      run.bind(Buffer.Scratch, scratch, lane * scratchBytes)
      run.bind(Buffer.Contexts, contexts, lane * plan.contextBytes)
      run.bind(Buffer.State, state)
      run.bind(Buffer.Call, call)
      if (angles) run.bind(Buffer.Angles, angles)
      if (local) run.bind(Buffer.LocalOutput, local)
      run.set(Piece.Average, Number(config.averageRouted && memory.windows > 0))
      run.set(Piece.SequenceRows, length)
    }
    const groups = createRuns(forward, lanes, bind)
    const output = resources.allocate(groups.flat().length * pieceBytes, "the pieces' outputs")
    const routing = new Run()
    bind(routing, 0)
    const pause = createPause(forward)
    // last of all: only now nothing more of this turn can fail
    input.writeRows(forward.x, dim, geometry.stride, 0)
    forward.inputsRead?.()

    for (let sequence = 0; sequence < batch; sequence++) {
      const inputOffset = sequence * length * rowBytes
      state.clear()
      const routed: RoutedSequence = {
        device,
        run: routing,
        geometry,
        memory,
        chosenRows,
        input,
        inputOffset,
        programs,
        length,
        trace,
        pause,
        interrupt: forward.interrupt,
      }
      const keyValues = await decideRouting(routed)
      try {
        if (trace) traceRouting(sequence)
        await runPieces({
          forward,
          geometry,
          program: programs.piece,
          groups,
          prepare: (run, slot, position) => {
            run.bind(Buffer.Input, input, inputOffset + position * rowBytes, (length - position) * rowBytes)
            run.bind(Buffer.Output, output, slot * pieceBytes)
            if (keyValues) run.bind(Buffer.KeyValues, keyValues)
          },
          results: (slot, rows) => {
            const out = { memory: output, byteOffset: slot * pieceBytes, byteLength: rows * rowBytes }
            return local ? [out, { memory: local, byteOffset: 0, byteLength: rows * rowBytes }] : [out]
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
      if (memory.windows === 0) return
      for (let expert = 0; expert < numExperts; expert++) {
        const taken = call.readInts(memory.taken.byteOffset + expert * memory.capacity * 4, length)
        for (let position = routedWindowSize; position < length; position++) {
          if (taken[position]) result.query(sequence, Math.floor(position / routedWindowSize), expert, position % routedWindowSize)
        }
        for (let window = 1; window <= memory.windows; window++) {
          const list = ((window - 1) * numExperts + expert) * memory.listCapacity
          const count = contextCount(geometry.numbers, window * routedWindowSize)
          result.keyValues(sequence, window, expert, call.readInts(memory.lists.byteOffset + list * 4, count))
        }
      }
    }
  } finally {
    resources.dispose()
  }
  return result.finish()
}
