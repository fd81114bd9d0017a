import { softmaxWeights, type Matrix, type Vector } from './arithmetic.js'
import { anglesByHead, routeSequence, routerScoresOf } from './layer.js'
import { localProjections } from './local-attention.js'
import { referenceModel, type ReferenceBlock } from './model.js'
import { resolveOptions } from './options.js'
import type { StateDict } from './parameters.js'
import { expertProjections } from './routed-attention.js'

/** What one layer did for the last token. */
export interface InspectedLayer {
  /** The block, and what it was given for all tokens. */
  readonly block: ReferenceBlock
  readonly localPositions: number[]
  /** By head, over the local positions. */
  readonly localWeights: Matrix
  readonly experts: readonly InspectedExpert[]
}

export interface InspectedExpert {
  readonly queryScore: number
  readonly keyValueScore: number
  readonly isQuery: boolean
  readonly heldPositions: number[]
  /** By head, over the null key/value and the held positions; what a query has, or would have. */
  readonly routedWeights: Matrix
}

/** What each layer of a strictly causal model does for the last token of a text. */
export function referenceInspection(
  config: Readonly<Record<string, unknown>>,
  parameters: StateDict,
  tokenIds: ArrayLike<number>,
): InspectedLayer[] {
  const layers: InspectedLayer[] = []
  referenceModel(config, parameters, tokenIds, (block) => layers.push(inspectBlock(block)))
  return layers
}

function inspectBlock(block: ReferenceBlock): InspectedLayer {
  const { parameters, x, forwardOptions, isRouted } = block
  const options = resolveOptions(block.options)
  const { heads, numExperts, localAttnWindowSize, routedWindowSize } = options
  const last = x.length - 1
  const projections = localProjections(options, parameters, x)
  const localPositions = Array.from(
    { length: Math.min(last, localAttnWindowSize) + 1 },
    (_, i) => i + Math.max(0, last - localAttnWindowSize),
  )
  const byHead = (weights: (head: number) => Vector) => Array.from({ length: heads }, (_, head) => weights(head))
  const localWeights = byHead((head) => {
    return softmaxWeights(
      projections[last]!.q[head]!,
      localPositions.map((position) => projections[position]!.k[head]!),
    )
  })
  if (!isRouted) return { block, localPositions, localWeights, experts: [] }

  const angles = forwardOptions.rotaryEmb ? anglesByHead(options, forwardOptions.rotaryEmb) : null
  const window = Math.floor(last / routedWindowSize)
  const routings = routeSequence(options, parameters, x, window)
  const queryScores = routerScoresOf(options, parameters, 'query_router', x)
  const keyValueScores = routerScoresOf(options, parameters, 'key_value_router', x)
  const experts = Array.from({ length: numExperts }, (_, expert): InspectedExpert => {
    // window 0 is not routed
    const { queries, context } = routings[window - 1]?.[expert] ?? { queries: [], context: [] }
    const { queryOf, keyValueOf, nullKeys } = expertProjections(options, parameters, expert, x, angles)
    return {
      queryScore: queryScores[expert]![last]!,
      keyValueScore: keyValueScores[expert]![last]!,
      isQuery: queries.some(({ index }) => index === last),
      heldPositions: context.map(({ index }) => index),
      routedWeights: byHead((head) => {
        const keys = [nullKeys[head]!, ...context.map(({ index }) => keyValueOf(index).keys[head]!)]
        return softmaxWeights(queryOf(last)[head]!, keys)
      }),
    }
  })
  return { block, localPositions, localWeights, experts }
}
