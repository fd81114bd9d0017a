import { BufferIndex, type BufferRange } from '../../device/device.js'
import { ResourceScope } from '../../device/resource-scope.js'
import { workPerToken } from '../../plan/geometry.js'
import { planCausalLayer } from '../../plan/causal-layer-plan.js'
import { contextCount } from '../../plan/chunk.js'
import { runChunks } from './chunk-scheduler.js'
import { createYieldPoint, createDispatches, type LayerForward, writeAngles } from './layer-forward.js'
import { type LayerTrace, TraceBuilder } from './layer-trace.js'

/** A causal layer: one program runs chunk after chunk, as in a session, so memory does not grow with n. */
export async function causalForward(forward: LayerForward): Promise<LayerTrace> {
  const { device, config, parameters, x, batch, length, trace } = forward
  const result = new TraceBuilder(forward)
  if (batch * length === 0) return result.finish()
  const { dim, numExperts, routedWindowSize } = config
  const plan = planCausalLayer(config, parameters, { length, angleWidth: forward.angles?.shape[1], trace, limits: device })
  const { geometry } = plan
  const scope = new ResourceScope(device)
  try {
    const chunkBytes = geometry.chunkRows * geometry.stride * 4
    const workerGroups = device.workerGroups(plan.scratchBytes)
    const scratch = scope.allocate(workerGroups * plan.scratchBytes, "the layer's working memory")
    const state = scope.allocate(plan.stateBytes, "the sequence's state")
    const local = trace ? scope.allocate(chunkBytes, 'the trace') : undefined
    const angles = writeAngles(scope, forward.angles)
    const open = scope.compile(plan.open)
    const program = scope.compile(plan.chunk)
    const submissions = createDispatches(forward, workerGroups, (dispatch, workerGroup) => {
      dispatch.bind(BufferIndex.Weights, forward.weights)
      dispatch.bind(BufferIndex.Scratch, scratch, workerGroup * plan.scratchBytes)
      dispatch.bind(BufferIndex.State, state)
      if (angles) dispatch.bind(BufferIndex.Angles, angles)
      if (local) dispatch.bind(BufferIndex.LocalOutput, local)
    })
    const slots = submissions.flat().length
    const input = scope.allocate(slots * chunkBytes, "the chunks' inputs")
    const output = scope.allocate(slots * chunkBytes, "the chunks' outputs")
    for (let sequence = 0; sequence < batch; sequence++) {
      state.clear()
      device.runSync(open, submissions[0]![0]!)
      await runChunks({
        device,
        program,
        geometry,
        submissions,
        start: { position: 0, base: 0 },
        length,
        operationsPerToken: workPerToken(config),
        prepare: (dispatch, { slot, rows, start: { position } }) => {
          const first = (sequence * length + position) * dim
          input.writeRows(x.subarray(first, first + rows * dim), dim, geometry.stride, slot * chunkBytes)
          dispatch.bind(BufferIndex.Input, input, slot * chunkBytes)
          dispatch.bind(BufferIndex.Output, output, slot * chunkBytes)
          dispatch.readbacks = readbacks(slot, rows)
        },
        collect: (_dispatch, { slot, rows, start: { position } }) => {
          const first = (sequence * length + position) * dim
          output.readRows(result.out, first, rows, dim, geometry.stride, slot * chunkBytes)
          if (!local) return
          local.readRows(result.localOut, first, rows, dim, geometry.stride, 0)
          if (position >= routedWindowSize && position % routedWindowSize === 0) traceContexts(sequence, position)
          traceQueries(sequence, position)
        },
        yieldPoint: createYieldPoint(forward),
        interrupt: forward.interrupt,
      })
    }

    function readbacks(slot: number, rows: number): BufferRange[] {
      const rowBytes = geometry.stride * 4
      const out = { memory: output, byteOffset: slot * chunkBytes, byteLength: rows * rowBytes }
      if (!local) return [out]
      const { queryCounts, queryLists } = plan.scratch
      return [
        out,
        { memory: local, byteOffset: 0, byteLength: rows * rowBytes },
        { memory: scratch, byteOffset: queryCounts.byteOffset, byteLength: numExperts * 4 },
        { memory: scratch, byteOffset: queryLists.byteOffset, byteLength: numExperts * geometry.chunkRows * 4 },
        {
          memory: state,
          byteOffset: plan.state.routing.contextPositions.byteOffset,
          byteLength: numExperts * geometry.contextCapacity * 8,
        },
      ]
    }

    function traceContexts(sequence: number, position: number): void {
      const count = contextCount(geometry.config, position)
      for (let expert = 0; expert < numExperts; expert++) {
        const offset = plan.state.routing.contextPositions.byteOffset + expert * geometry.contextCapacity * 8
        // of 64-bit integers the lower words: a batch has no more tokens than they can count
        const positions = state.readInts(offset, 2 * count).filter((_, word) => word % 2 === 0)
        result.keyValues(sequence, position / routedWindowSize, expert, positions)
      }
    }

    function traceQueries(sequence: number, position: number): void {
      const counts = scratch.readInts(plan.scratch.queryCounts.byteOffset, numExperts)
      const lists = scratch.readInts(plan.scratch.queryLists.byteOffset, numExperts * geometry.chunkRows)
      const window = Math.floor(position / routedWindowSize)
      counts.forEach((count, expert) => {
        for (const row of lists.subarray(expert * geometry.chunkRows, expert * geometry.chunkRows + count)) {
          result.query(sequence, window, expert, (position % routedWindowSize) + row)
        }
      })
    }
  } finally {
    scope.dispose()
  }
  return result.finish()
}
