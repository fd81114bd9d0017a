import { DispatchHeader } from '../../../assembly/ir/header.js'
import { Opcode } from '../../../assembly/ir/ops.js'
import { Norm } from '../../../assembly/ir/values.js'
import { type Geometry, headGroups } from '../geometry.js'
import type { RoutedContext } from './layer-context.js'
import { headerWord, offset } from './operands.js'
import { addProduct } from './product-ops.js'
import type { ProgramBuilder } from './program-builder.js'
import type { Operand } from '../../program/operand.js'
import { addRotation } from './rotary-ops.js'

/**
 * Router scores of the chunk's rows for every expert (SPEC section 4), written from index `first` on; raw products are
 * kept in `products`.
 */
export function addRouterScores(
  context: Pick<RoutedContext, 'builder' | 'geometry' | 'routing' | 'input'>,
  target: { products: Operand; queries: Operand; keyValues: Operand; capacity: number; first: Operand },
): void {
  const { builder, geometry, routing, input } = context
  const { config, stride, productStride } = geometry
  const rows = headerWord(DispatchHeader.Rows)
  addProduct(builder, {
    rows,
    input,
    weights: routing.routingTokens,
    output: target.products,
    inputStride: stride,
    depth: config.dim,
    outputStride: productStride,
  })
  builder.op(Opcode.RouterScores, {
    rows,
    first: target.first,
    input,
    products: target.products,
    queries: target.queries,
    keyValues: target.keyValues,
    stride,
    width: config.dim,
    productStride,
    experts: config.numExperts,
    capacity: target.capacity,
    cosine: config.cosineSimRouting,
    scale: config.cosineSimScale,
  })
}

/** Input rows of an expert's projection: gathered, and normalised if the layer has norms. */
export function addExpertNorm(
  builder: ProgramBuilder,
  { config, stride }: Geometry,
  gamma: Operand | undefined,
  rows: { count: Operand; first?: Operand; indices?: Operand; input: Operand; ring?: number; output: Operand; limit?: DispatchHeader },
): void {
  builder.op(Opcode.Normalise, {
    rows: rows.count,
    first: rows.first,
    indices: rows.indices,
    input: rows.input,
    output: rows.output,
    weight: gamma,
    kind: gamma ? Norm.RootMeanSquare : Norm.None,
    width: config.dim,
    stride,
    ring: rows.ring,
    limit: rows.limit ?? DispatchHeader.Rows,
  })
}

/** An expert's queries of some input rows, rotated, to `scratch.queries`. @param rows as of `addExpertNorm` */
export function addExpertQueries(
  { builder, geometry, scratch, routedTable }: Pick<RoutedContext, 'builder' | 'geometry' | 'scratch' | 'routedTable'>,
  { queryNorm, toQueries }: RoutedContext['routing']['experts'][number],
  rows: { count: Operand; first?: Operand; indices?: Operand; input: Operand; ring?: number; limit?: DispatchHeader },
): void {
  const { config, stride, inner } = geometry
  const { count, indices, limit = DispatchHeader.Rows } = rows
  addExpertNorm(builder, geometry, queryNorm, { ...rows, output: scratch.normed })
  addProduct(builder, {
    rows: count,
    limit,
    input: scratch.normed,
    weights: toQueries,
    output: scratch.queries,
    inputStride: stride,
    depth: config.dim,
    outputStride: inner,
  })
  builder.skipBarrier(headGroups(geometry))
  if (routedTable) {
    addRotation(builder, geometry, routedTable, { count, values: scratch.queries, stride: inner, indices, limit })
    builder.skipBarrier(headGroups(geometry))
  }
}

/**
 * A chunk of several windows: the number of key/values of each, and where each one's rows start in an expert's list.
 */
export interface WindowedQueries {
  readonly ends: Operand
  readonly starts: (expert: number) => Operand
  /** Maximum rows of a window. */
  readonly rows: number
}

/**
 * Routed attention of the queries listed in `scratch`, expert by expert (SPEC section 5), to `scratch.expertOutputs`.
 */
export function addExperts(context: RoutedContext, windows?: WindowedQueries): void {
  const { builder, geometry, routing, scratch, state, input, outputRows } = context
  const { config, chunkRows, stride, inner, headStride, contextCapacity } = geometry
  const limit = outputRows.count
  routing.experts.forEach((expert, index) => {
    // rows are gathered in parallel with the outputs of the previous expert
    if (index > 0) builder.skipBarrier()
    const count = offset(scratch.queryCounts, index)
    const indices = offset(scratch.queryLists, index * chunkRows)
    addExpertQueries(context, expert, { count, indices, input, limit })
    builder.op(Opcode.Attention, {
      end: windows ? windows.ends : headerWord(DispatchHeader.ContextCount),
      starts: windows?.starts(index),
      contextStride: geometry.contextWords,
      contextRows: windows?.rows,
      rows: count,
      indices,
      queries: scratch.queries,
      keys: state.contexts[index]!.keys,
      values: state.contexts[index]!.values,
      output: scratch.attended,
      scores: scratch.routedScores,
      queryStride: inner,
      outputStride: inner,
      window: contextCapacity,
      advance: 0,
      heads: config.heads,
      headWidth: config.dimHead,
      headStride,
      capacity: contextCapacity,
      scoreStride: geometry.contextScoreStride,
      scale: 1 / Math.sqrt(config.dimHead),
    })
    addProduct(builder, {
      rows: count,
      limit,
      input: scratch.attended,
      weights: expert.toOutputs,
      output: offset(scratch.expertOutputs, index * chunkRows * stride),
      inputStride: inner,
      outputStride: stride,
    })
  })
}
