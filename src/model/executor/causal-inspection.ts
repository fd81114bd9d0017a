import { BufferIndex, type CompiledProgram, type DeviceBuffer, Dispatch } from '../../device/device.js'
import { ResourceScope } from '../../device/resource-scope.js'
import type { Interrupt } from '../../interrupt.js'
import { contextCount, type Cursor, fillHeader } from '../../plan/chunk.js'
import { workPerToken } from '../../plan/geometry.js'
import { contextPositions } from '../../plan/memory/portable-state.js'
import type { RoutingState } from '../../plan/memory/layer-memory.js'
import type { CausalModelPlan, InspectionPlan } from '../../plan/model-plan.js'
import type { LayerInspection } from '../inspection.js'
import type { CausalModel } from './causal-model.js'

/** A layer's part of an inspection that says how its experts route. */
type Routing = Pick<LayerInspection, 'routerScores' | 'isQuery' | 'heldPositions' | 'routedWeights'>

/**
 * Reads from a state what its last token attended to. The state has all of it: router scores and positions as they are,
 * keys, and for each layer the token's input, from which a program projects the queries again. It changes nothing of
 * the state; its program stays, and the results take memory for as long as they are read.
 */
export class Inspector {
  readonly #model: CausalModel
  readonly #plan: CausalModelPlan
  readonly #scratch: DeviceBuffer
  readonly #inspection: InspectionPlan
  readonly #program: CompiledProgram

  /**
   * @param scratch the bucket's, used under the model's mutex
   * @param scope of the bucket
   */
  constructor(model: CausalModel, plan: CausalModelPlan, scratch: DeviceBuffer, scope: ResourceScope) {
    this.#model = model
    this.#plan = plan
    this.#scratch = scratch
    this.#inspection = plan.inspection()
    this.#program = scope.compile(this.#inspection.program)
  }

  /**
   * @param state with the keys and values of its inputs
   * @param cursor behind the token
   * @throws RoutedAttentionError `OUT_OF_MEMORY`
   */
  inspect(state: DeviceBuffer, cursor: Cursor, interrupt: Interrupt): Promise<LayerInspection[]> {
    const token: Cursor = { position: cursor.position - 1, base: cursor.base }
    return this.#model.mutex.runExclusive(() => this.#inspect(state, token, interrupt), interrupt)
  }

  async #inspect(state: DeviceBuffer, token: Cursor, interrupt: Interrupt): Promise<LayerInspection[]> {
    // where callers are isolated, nothing is awaited from here on, so that nothing stays behind a caller that is gone
    interrupt.check()
    const { device, weights, config } = this.#model
    const { geometry, states } = this.#plan
    const { layer } = config
    const scope = new ResourceScope(device)
    try {
      const output = scope.allocate(this.#inspection.outputBytes, 'an inspection')
      const dispatch = new Dispatch()
      dispatch.bind(BufferIndex.Weights, weights)
      dispatch.bind(BufferIndex.Scratch, this.#scratch)
      dispatch.bind(BufferIndex.State, state)
      dispatch.bind(BufferIndex.Output, output)
      // the token is in the state already, so this moves nothing
      fillHeader(dispatch, geometry, token, 1)
      dispatch.operations = config.depth * layer.numExperts * workPerToken(layer)
      dispatch.readbacks = [{ memory: output, byteOffset: 0, byteLength: output.byteLength }]
      const running = device.run(this.#program, dispatch, interrupt)
      if (running) await running
      return this.#inspection.layers.map(({ local, experts }, index) => {
        const { routing } = states[index]!
        const localPositions = recentPositions(token.position, layer.localAttnWindowSize + 1)
        const firstKey = (localPositions[0]! - token.base) % 8
        const localWeights = this.#readHeads(output, local.byteOffset, geometry.localScoreStride, firstKey, localPositions.length)
        const contexts = experts.map(({ byteOffset }) => {
          const count = 1 + contextCount(layer, token.position)
          return this.#readHeads(output, byteOffset, geometry.contextScoreStride, 0, count)
        })
        return { localPositions, localWeights, ...this.#readRouting(state, routing, token.position, contexts) }
      })
    } finally {
      scope.dispose()
    }
  }

  /** `count` weights of each head, from column `first` on. */
  #readHeads(output: DeviceBuffer, byteOffset: number, stride: number, first: number, count: number): Float32Array[] {
    const { heads } = this.#model.config.layer
    return Array.from({ length: heads }, (_, head) => output.readFloats(byteOffset + (head * stride + first) * 4, count))
  }

  /** @param contexts each expert's weights, of which those of queries are kept */
  #readRouting(state: DeviceBuffer, routing: RoutingState | undefined, position: number, contexts: readonly Float32Array[][]): Routing {
    const { config, windowCapacity } = this.#plan.geometry
    const { routedWindowSize, numRoutedQueries } = config
    const offset = position % routedWindowSize
    const scores = (of: RoutingState, kind: 'openQueryRouterScores' | 'openKeyValueRouterScores', expert: number) =>
      state.readFloats(of[kind].byteOffset + expert * windowCapacity * 4, offset + 1)
    const experts = contexts.map((weights, expert) => {
      const own = scores(routing!, 'openQueryRouterScores', expert)
      const query = own[offset]!
      const asHigh = own.subarray(0, offset).filter((earlier) => earlier >= query).length
      const isQuery = position >= routedWindowSize && asHigh < numRoutedQueries
      return {
        query,
        keyValue: scores(routing!, 'openKeyValueRouterScores', expert)[offset]!,
        isQuery,
        held: contextPositions(this.#plan.geometry, routing!, expert, contextCount(config, position), state),
        weights: isQuery ? weights : undefined,
      }
    })
    return {
      routerScores: [Float32Array.from(experts, ({ query }) => query), Float32Array.from(experts, ({ keyValue }) => keyValue)],
      isQuery: experts.map(({ isQuery }) => isQuery),
      heldPositions: experts.map(({ held }) => held),
      routedWeights: experts.map(({ weights }) => weights),
    }
  }
}

/** The last positions up to one, ascending, at most `most` of them. */
function recentPositions(last: number, most: number): Float64Array {
  const count = Math.min(last + 1, most)
  return Float64Array.from({ length: count }, (_, i) => last + 1 - count + i)
}
