import { BufferIndex, DispatchHeader, Dispatch } from '../../device/device.js'
import { ResourceScope } from '../../device/resource-scope.js'
import { workPerToken } from '../../plan/geometry.js'
import { planFullSequenceLayer } from '../../plan/full-sequence-layer-plan.js'
import { contextCount } from '../../plan/chunk.js'
import { runChunks } from './chunk-scheduler.js'
import { createYieldPoint, createDispatches, type LayerForward, writeAngles } from './layer-forward.js'
import { type LayerTrace, TraceBuilder } from './layer-trace.js'
import { compileRouting, selectRouted, type FullSequenceRouting } from './full-sequence-routing.js'

/**
 * A layer with full-sequence routing: routing is decided over the whole sequence first, then outputs are computed chunk
 * by chunk.
 */
export async function fullSequenceForward(forward: LayerForward): Promise<LayerTrace> {
  const { device, config, parameters, batch, length, trace } = forward
  const result = new TraceBuilder(forward)
  if (batch * length === 0) return result.finish()
  const { dim } = config
  const plan = planFullSequenceLayer(config, parameters, { length, angleWidth: forward.angles?.shape[1], trace, limits: device })
  const { geometry, memory, chosenRows } = plan
  const scope = new ResourceScope(device)
  try {
    const rowBytes = geometry.stride * 4
    const chunkBytes = geometry.chunkRows * rowBytes
    const input = scope.allocate(batch * length * rowBytes, 'the input')
    const scratchBytes = plan.scratchLayout.byteLength
    const workerGroups = device.workerGroups(scratchBytes + plan.contextBytes)
    const scratch = scope.allocate(workerGroups * scratchBytes, "the layer's working memory")
    const contexts = scope.allocate(workerGroups * plan.contextBytes, "the windows' contexts")
    const state = scope.allocate(plan.stateBytes, "the sequence's keys and values")
    const call = scope.allocate(plan.callBytes, "the sequence's routing")
    const angles = writeAngles(scope, forward.angles)
    const local = trace ? scope.allocate(chunkBytes, 'the trace') : undefined
    const routingPrograms = plan.programs.routing && compileRouting(scope, plan.programs.routing)
    const chunk = scope.compile(plan.programs.chunk)
    const bind = (dispatch: Dispatch, workerGroup: number) => {
      dispatch.bind(BufferIndex.Weights, forward.weights)
      dispatch.bind(BufferIndex.Scratch, scratch, workerGroup * scratchBytes)
      dispatch.bind(BufferIndex.Contexts, contexts, workerGroup * plan.contextBytes)
      dispatch.bind(BufferIndex.State, state)
      dispatch.bind(BufferIndex.Call, call)
      if (angles) dispatch.bind(BufferIndex.Angles, angles)
      if (local) dispatch.bind(BufferIndex.LocalOutput, local)
      dispatch.set(DispatchHeader.Average, Number(config.averageRouted && memory.windows > 0))
      dispatch.set(DispatchHeader.SequenceRows, length)
    }
    const submissions = createDispatches(forward, workerGroups, bind)
    const output = scope.allocate(submissions.flat().length * chunkBytes, "the chunks' outputs")
    const routing = new Dispatch()
    bind(routing, 0)
    const yieldPoint = createYieldPoint(forward)
    // last, since from here on nothing in this turn can fail
    input.writeRows(forward.x, dim, geometry.stride, 0)
    forward.inputsRead?.()

    for (let sequence = 0; sequence < batch; sequence++) {
      const inputOffset = sequence * length * rowBytes
      state.clear()
      const routed: FullSequenceRouting | undefined = routingPrograms && {
        device,
        dispatch: routing,
        geometry,
        memory,
        chosenRows,
        input,
        inputOffset,
        programs: routingPrograms,
        length,
        trace,
        yieldPoint,
        interrupt: forward.interrupt,
      }
      const sequenceScope = new ResourceScope(device)
      try {
        const keyValues = routed && (await selectRouted(routed, sequenceScope))
        if (trace) traceRouting(sequence)
        await runChunks({
          device,
          program: chunk,
          geometry,
          submissions,
          start: { position: 0, base: 0 },
          length,
          operationsPerToken: workPerToken(config),
          prepare: (dispatch, { slot, rows, start: { position } }) => {
            dispatch.bind(BufferIndex.Input, input, inputOffset + position * rowBytes, (length - position) * rowBytes)
            dispatch.bind(BufferIndex.Output, output, slot * chunkBytes)
            if (keyValues) dispatch.bind(BufferIndex.KeyValues, keyValues)
            const out = { memory: output, byteOffset: slot * chunkBytes, byteLength: rows * rowBytes }
            dispatch.readbacks = local ? [out, { memory: local, byteOffset: 0, byteLength: rows * rowBytes }] : [out]
          },
          collect: (_dispatch, { slot, rows, start: { position } }) => {
            const first = (sequence * length + position) * dim
            output.readRows(result.out, first, rows, dim, geometry.stride, slot * chunkBytes)
            local?.readRows(result.localOut, first, rows, dim, geometry.stride, 0)
          },
          yieldPoint,
          interrupt: forward.interrupt,
        })
      } finally {
        sequenceScope.dispose()
      }
    }

    function traceRouting(sequence: number): void {
      const { numExperts, routedWindowSize } = config
      if (memory.windows === 0) return
      for (let expert = 0; expert < numExperts; expert++) {
        const mask = call.readInts(memory.queryMask.byteOffset + expert * memory.capacity * 4, length)
        for (let position = routedWindowSize; position < length; position++) {
          if (mask[position]) result.query(sequence, Math.floor(position / routedWindowSize), expert, position % routedWindowSize)
        }
        for (let window = 1; window <= memory.windows; window++) {
          const list = ((window - 1) * numExperts + expert) * memory.listCapacity
          const count = contextCount(geometry.config, window * routedWindowSize)
          result.keyValues(sequence, window, expert, call.readInts(memory.lists.byteOffset + list * 4, count))
        }
      }
    }
  } finally {
    scope.dispose()
  }
  return result.finish()
}
