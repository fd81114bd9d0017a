import { BufferIndex, DispatchHeader } from '../../../assembly/ir/header.js'
import { Opcode } from '../../../assembly/ir/ops.js'
import { Norm } from '../../../assembly/ir/values.js'
import { headGroups } from '../geometry.js'
import type { LayerContext } from './layer-context.js'
import { headerWord, rangeWords } from './operands.js'
import { addProduct } from './product-ops.js'
import { at, type Operand } from '../../program/operand.js'

/** What local keys and values are made with. */
type LocalContext = Pick<LayerContext, 'builder' | 'geometry' | 'weights' | 'scratch' | 'state' | 'input' | 'localTable'>

/**
 * Queries, keys and values of a chunk's rows, to `scratch.projected`. The barrier after them may be skipped by ops on
 * groups of heads.
 * @param place the rows' place, if the input is a ring
 */
export function addLocalProjection(
  { builder, geometry, weights, scratch, input }: LocalContext,
  place?: { first: Operand; ring: number },
): void {
  const { config, stride, inner } = geometry
  const { localNorm } = weights
  const rows = headerWord(DispatchHeader.Rows)
  const isCopied = localNorm !== undefined || place !== undefined
  if (isCopied) {
    builder.op(Opcode.Normalise, {
      rows,
      first: place?.first,
      input,
      output: scratch.normed,
      weight: localNorm?.weight,
      bias: localNorm?.bias,
      kind: localNorm ? Norm.Layer : Norm.None,
      width: config.dim,
      stride,
      ring: place?.ring,
    })
  }
  addProduct(builder, {
    rows,
    input: isCopied ? scratch.normed : input,
    weights: weights.toQueriesKeysValues,
    output: scratch.projected,
    inputStride: stride,
    depth: config.dim,
    outputStride: 3 * inner,
    projections: 3,
  })
  builder.skipBarrier(headGroups(geometry))
}

/** Rotates the queries, and stores keys and values in the local buffer. */
export function addLocalStore({ builder, geometry, scratch, state, localTable }: LocalContext): void {
  const { config, inner, headStride, localCapacity } = geometry
  builder.op(Opcode.LocalStore, {
    projected: scratch.projected,
    table: localTable,
    keys: state.localKeys,
    values: state.localValues,
    stride: 3 * inner,
    heads: config.heads,
    headWidth: config.dimHead,
    headStride,
    capacity: localCapacity,
  })
}

/**
 * Local attention (SPEC section 2), from the layer's input to `scratch.local`, whose rows are those of `outputRows`.
 * @param addFirst adds ops to the serialized section's front
 */
export function addLocalAttention(context: LayerContext, addFirst: () => void = () => undefined): void {
  const { builder, geometry, weights, scratch, state, outputRows, trace } = context
  const { config, stride, inner, headStride, localCapacity } = geometry
  const outputs = rangeWords(outputRows)
  addLocalProjection(context)
  // drops keys that the previous chunk attends to, and attends to keys that it stores
  builder.serialized(() => {
    addFirst()
    addLocalStore(context)
    builder.skipBarrier(headGroups(geometry))
    builder.op(Opcode.Attention, {
      rows: outputs.rows,
      first: outputs.first,
      end: headerWord(DispatchHeader.LocalIndex),
      queries: scratch.projected,
      keys: state.localKeys,
      values: state.localValues,
      output: scratch.attended,
      scores: scratch.localScores,
      queryStride: 3 * inner,
      outputStride: inner,
      heads: config.heads,
      headWidth: config.dimHead,
      headStride,
      capacity: localCapacity,
      window: config.localAttnWindowSize + 1,
      advance: 1,
      scoreStride: geometry.localScoreStride,
      scale: 1 / Math.sqrt(config.dimHead),
    })
  })
  addProduct(builder, {
    rows: outputs.rows,
    limit: outputRows.count,
    input: scratch.attended,
    weights: weights.toOutputs,
    output: scratch.local,
    inputStride: inner,
    outputStride: stride,
  })
  if (trace) {
    builder.op(Opcode.CopyRows, {
      rows: outputs.rows,
      input: scratch.local,
      output: at(BufferIndex.LocalOutput),
      stride,
    })
  }
}
