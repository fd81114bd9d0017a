import { BufferIndex, DispatchHeader } from '../../../assembly/ir/header.js'
import { Opcode } from '../../../assembly/ir/ops.js'
import type { CausalContext } from './causal-ops.js'
import { headGroups } from '../geometry.js'
import { addLocalProjection } from './local-ops.js'
import type { Layout } from '../memory/layout.js'
import { headerWord } from './operands.js'
import { at, type Operand } from '../../program/operand.js'
import { addExpertQueries } from './routed-ops.js'
import { addRotation } from './rotary-ops.js'

/** Where the softmax weights of a layer's attention are in `BufferIndex.Output`; rows of heads are padded. */
export interface WeightsOfLayer {
  /** [heads][localScoreStride], from the panel of the first key on. */
  readonly local: Operand
  /** [heads][contextScoreStride] of each expert, by rank; none of a layer with only local attention. */
  readonly experts: readonly Operand[]
}

/**
 * The softmax weights of a state's last token, whose place the dispatch header describes as if it were the next one.
 * The queries are projected again from the input that the state keeps, which gives the bits that they had; of the
 * state nothing is written.
 */
export function addInspection(
  context: Pick<CausalContext, 'builder' | 'geometry' | 'weights' | 'scratch' | 'state' | 'localTable' | 'routedTable'>,
  output: Layout,
): WeightsOfLayer {
  const { builder, geometry, weights, scratch, state } = context
  const { config, inner, headStride, contextCapacity } = geometry
  const { heads, dimHead, localAttnWindowSize } = config
  const count = headerWord(DispatchHeader.Rows)
  const place = { first: headerWord(DispatchHeader.InputRow), ring: geometry.inputRows }
  const shared = { heads, headWidth: dimHead, headStride, scale: 1 / Math.sqrt(dimHead) }
  const words = (length: number) => at(BufferIndex.Output, output.words(length))

  addLocalProjection({ ...context, input: state.recentInputs }, place)
  const localTable = { rows: context.localTable, width: dimHead, angleStride: 0 }
  addRotation(builder, geometry, localTable, { count, values: scratch.projected, stride: 3 * inner })
  builder.skipBarrier(headGroups(geometry))
  const local = words(heads * geometry.localScoreStride)
  builder.op(Opcode.AttentionWeights, {
    ...shared,
    queries: scratch.projected,
    keys: state.localKeys,
    weights: local,
    end: headerWord(DispatchHeader.LocalIndex),
    capacity: geometry.localCapacity,
    window: localAttnWindowSize + 1,
    weightStride: geometry.localScoreStride,
  })
  const experts = (weights.routing?.experts ?? []).map((expert, index) => {
    addExpertQueries(context, expert, { count, ...place, input: state.recentInputs })
    const routed = words(heads * geometry.contextScoreStride)
    builder.op(Opcode.AttentionWeights, {
      ...shared,
      queries: scratch.queries,
      keys: state.contexts[index]!.keys,
      weights: routed,
      end: headerWord(DispatchHeader.ContextCount),
      capacity: contextCapacity,
      window: contextCapacity,
      weightStride: geometry.contextScoreStride,
    })
    return routed
  })
  return { local, experts }
}
