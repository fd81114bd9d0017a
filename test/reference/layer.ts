import { add, fromRows, scale, toRows, type Float64Values, type Matrix, type Values } from './arithmetic.js'
import { localAttention } from './local-attention.js'
import { resolveOptions, type ForwardOptions, type LayerOptions, type ResolvedOptions } from './options.js'
import { parameterRows, type StateDict } from './parameters.js'
import { expertAttention } from './routed-attention.js'
import { select, routerScore, selectCausally, type Selected } from './selection.js'

export interface LayerTrace {
  /** (batch, tokens, dim). */
  out: Float64Values
  /** Local attention alone, never divided: (batch, tokens, dim). */
  localOut: Float64Values
  /**
   * (batch, windows, experts, window), 1 where the expert took the token as a query. Windows count from the second;
   * absent when there is one.
   */
  routedQueries?: { data: Uint8Array; shape: number[] }
  /**
   * (batch, windows, experts, min(k, m·w)): chosen positions ascending, the -1 of empty places first. Absent when there
   * is one window.
   */
  keyValueIndices?: { data: Int32Array; shape: number[] }
}

/** One window's routing by one expert; `index` is a position in the sequence. */
export interface Routing {
  queries: Selected[]
  context: Selected[]
}

/** The layer's forward, with what it decided on the way (SPEC sections 2 to 6). */
export function referenceLayer(options: LayerOptions, parameters: StateDict, x: Values, forwardOptions: ForwardOptions = {}): LayerTrace {
  const resolved = resolveOptions(options, forwardOptions)
  const { dim, numExperts, routedWindowSize, numRoutedKeyValues } = resolved
  const [batch, tokens] = x.shape as [number, number, number]
  const lastWindow = Math.max(Math.ceil(tokens / routedWindowSize) - 1, 0)
  const allTokens = toRows(x.data, dim)
  const sequences = Array.from({ length: batch }, (_, b) => allTokens.slice(b * tokens, (b + 1) * tokens))

  const localOut = sequences.map((sequence) => localAttention(resolved, parameters, sequence))
  const trace: LayerTrace = { out: fromRows(localOut.flat(), x.shape), localOut: fromRows(localOut.flat(), x.shape) }
  if (lastWindow === 0 || batch === 0) return trace

  const angles = forwardOptions.rotaryEmb ? anglesByHead(resolved, forwardOptions.rotaryEmb) : null
  const slots = Math.min(numRoutedKeyValues, lastWindow * routedWindowSize)
  const routedQueries: number[] = []
  const keyValueIndices: number[] = []
  const out = sequences.map((sequence, b) => {
    const routings = routeSequence(resolved, parameters, sequence, lastWindow)
    routings.forEach((experts, i) => {
      for (const { queries, context } of experts) {
        const taken = new Set(queries.map(({ index }) => index - (i + 1) * routedWindowSize))
        for (let t = 0; t < routedWindowSize; t++) routedQueries.push(taken.has(t) ? 1 : 0)
        keyValueIndices.push(...Array<number>(slots - context.length).fill(-1), ...context.map(({ index }) => index))
      }
    })
    return combine(resolved, parameters, sequence, localOut[b]!, routings, angles)
  })
  trace.out = fromRows(out.flat(), x.shape)
  trace.routedQueries = { data: Uint8Array.from(routedQueries), shape: [batch, lastWindow, numExperts, routedWindowSize] }
  trace.keyValueIndices = { data: Int32Array.from(keyValueIndices), shape: [batch, lastWindow, numExperts, slots] }
  return trace
}

/** The router scores of all tokens for each expert: as queries, or as key/values (SPEC section 4). */
export function routerScoresOf(
  options: ResolvedOptions,
  parameters: StateDict,
  router: 'query_router' | 'key_value_router',
  x: Matrix,
): number[][] {
  return parameterRows(parameters, `${router}.routing_token`, options.dim).map((routingToken) =>
    x.map((token) => routerScore(token, routingToken, options)),
  )
}

/** Each window's routing from the second on, by expert (SPEC sections 3 and 4). */
export function routeSequence(options: ResolvedOptions, parameters: StateDict, x: Matrix, lastWindow: number): Routing[][] {
  const { numExperts, routedWindowSize: window, numRoutedQueries, numRoutedKeyValues } = options
  const toQuery = routerScoresOf(options, parameters, 'query_router', x)
  const toKeyValue = routerScoresOf(options, parameters, 'key_value_router', x)

  return Array.from({ length: lastWindow }, (_, i) => {
    const start = (i + 1) * window
    return Array.from({ length: numExperts }, (_, expert) => {
      // The row has a place for each token of a whole window; the last window may not fill it.
      const own = Array.from({ length: window }, (_, t) => toQuery[expert]![start + t] ?? 0)
      const present = own.map((_, t) => start + t < x.length)
      const queries = options.causal
        ? selectCausally(own.slice(0, x.length - start), numRoutedQueries)
        : select(own, present, numRoutedQueries, options)
      // Every window's row is as long as the last one's past, and sees its own past.
      const candidates = toKeyValue[expert]!.slice(0, lastWindow * window)
      const past = candidates.map((_, position) => position < start)
      const context = select(candidates, past, numRoutedKeyValues, options)
      return { queries: queries.map(({ index, score }) => ({ index: start + index, score })), context }
    })
  })
}

/** Local output and experts' outputs, with null tokens where an expert took nothing (SPEC section 6). */
function combine(
  options: ResolvedOptions,
  parameters: StateDict,
  x: Matrix,
  localOut: Matrix,
  routings: Routing[][],
  angles: Matrix[] | null,
): Matrix {
  const { dim, numExperts, routedWindowSize: window, averageRouted } = options
  const out = localOut.slice()
  parameterRows(parameters, 'null_tokens', dim).forEach((nullToken, expert) => {
    const attention = expertAttention(options, parameters, expert, x, angles)
    const given: Matrix = x.map((_, position) => (position < window ? new Float64Array(dim) : nullToken))
    for (const experts of routings) {
      const { queries, context } = experts[expert]!
      attention(queries, context).forEach((routed, i) => (given[queries[i]!.index] = routed))
    }
    given.forEach((value, position) => (out[position] = add(out[position]!, value)))
  })
  return averageRouted ? out.map((token) => scale(token, 1 / (numExperts + 1))) : out
}

/**
 * `rotary_emb` as one set of angles for each head at each position: (n, e) serves every head, (n, h·e) goes head by
 * head.
 */
export function anglesByHead({ heads, dimHead }: ResolvedOptions, rotaryEmb: Values): Matrix[] {
  return toRows(rotaryEmb.data, rotaryEmb.shape[1]!).map((row) => {
    const sets = toRows(row, dimHead)
    return Array.from({ length: heads }, (_, head) => sets[sets.length === 1 ? 0 : head]!)
  })
}
