/*
 * The single definition of every option of a layer and of a model. Checks, types, the known keys of config.json and the
 * tables in docs/api.md are derived from it; `npm run generate` writes those that are text.
 */
import { boolean, choice, integer, integers, number, type Rule, size } from './rules.js'

/** Definition of one option. */
export interface OptionSpec {
  readonly rule: Rule<unknown>
  /** A noun phrase that describes it. */
  readonly sentence: string
  /** A further phrase for the documentation. */
  readonly note?: string
  /** The default. If it is null, null is also accepted. An option without a default is required. */
  readonly default?: number | boolean | string | null
  /** If absent or null, it is left out of the config. */
  readonly isOptional?: true
  /** Name of the option whose value it takes if absent or null. */
  readonly inherits?: string
  /** It is checked but has no effect, and is left out of the config. */
  readonly isIgnored?: true
  /** PyTorch's layer does not have it. */
  readonly isOurs?: true
  /** Its key in config.json, if that is not its name in snake_case. */
  readonly key?: string
  /** An alternative key in config.json. */
  readonly alias?: string
}

export type Schema = Readonly<Record<string, OptionSpec>>

/** The config type of a schema: all options except ignored ones, with defaults filled in. */
export type ConfigOf<Table> = {
  readonly [Name in keyof Table as Table[Name] extends { isIgnored: true } | { isOptional: true } ? never : Name]: ValueOf<Table[Name]>
} & {
  readonly [Name in keyof Table as Table[Name] extends { isOptional: true } ? Name : never]?: ValueOf<Table[Name]>
}

type ValueOf<Spec> = Spec extends { rule: Rule<infer Value> } ? Value | (Spec extends { default: null } ? null : never) : never

const positive = number('above 0', isPositive)
const elsewhere = 'accepted without effect: it chooses an implementation in PyTorch'

/** Options of a layer, in PyTorch's order. SPEC section 1. */
export const LAYER_OPTIONS = {
  dim: { rule: size(), sentence: 'channels of a token, d' },
  numRoutedQueries: {
    rule: size(),
    sentence: 'tokens of a window that each expert takes as queries',
    note: "all, if at least the window's length",
  },
  numRoutedKeyValues: {
    rule: size(),
    sentence: 'tokens of all earlier windows that each expert takes as keys and values',
    note: 'all, if there are fewer',
  },
  localAttnWindowSize: { rule: size(0), sentence: 'W: local attention sees a token and the W before it' },
  routedWindowSize: { rule: size(), inherits: 'localAttnWindowSize', sentence: 'tokens of a routed window' },
  numExperts: { rule: integer(1, 4096), default: 2, sentence: 'experts' },
  dimHead: { rule: size(2), default: 64, sentence: 'channels of a head, even' },
  heads: { rule: size(), default: 8, sentence: 'heads' },
  dropout: {
    rule: number('from 0 to 1', (value) => value >= 0 && value <= 1),
    default: 0,
    sentence: 'accepted without effect: this is inference',
    isIgnored: true,
  },
  prenorm: { rule: boolean, default: true, sentence: 'whether the inputs of both attentions are normalized' },
  averageRouted: { rule: boolean, default: false, sentence: 'whether the sum is divided by the number of experts plus one' },
  cosineSimRouting: {
    rule: boolean,
    default: false,
    sentence: 'whether tokens are routed by cosine similarity instead of the dot product',
  },
  cosineSimScale: { rule: number('finite', () => true), default: 8, sentence: 'factor for cosine similarities' },
  nIters: { rule: integer(1, 4096), default: 20, sentence: 'iterations of the coordinate descent' },
  fetchKRatio: { rule: positive, default: 9 / 8, sentence: 'factor for k in the coordinate descent' },
  eps: { rule: positive, default: 0.03, sentence: 'final temperature of the coordinate descent' },
  epsInit: { rule: positive, default: 4, sentence: 'initial temperature of the coordinate descent' },
  epsDecay: {
    rule: number('above 0 and up to 1', (value) => isPositive(value) && value <= 1),
    default: 0.7,
    sentence: 'factor for the temperature after each iteration',
  },
  straightThrough: {
    rule: boolean,
    default: true,
    sentence: "whether selected tokens carry a score of 1 instead of the router's",
  },
  useTriton: { rule: boolean, default: null, sentence: elsewhere, isIgnored: true },
  flashAttn: { rule: boolean, default: null, sentence: elsewhere, isIgnored: true },
  selection: {
    rule: choice('coordinate-descent', 'top-k'),
    default: 'coordinate-descent',
    sentence: 'how the k tokens that an expert takes are chosen',
    note: "'top-k' takes those with the largest router scores",
    isOurs: true,
  },
  causal: {
    rule: boolean,
    default: false,
    sentence: 'whether queries are chosen without looking ahead',
    note: "it needs selection 'top-k', `straightThrough` and no `averageRouted`",
    isOurs: true,
  },
} as const satisfies Schema

/** Options of a model besides those of its layers. SPEC section 7. */
export const MODEL_OPTIONS = {
  numTokens: { rule: size(), sentence: 'size of the vocabulary, V' },
  depth: { rule: integer(1, 4096), sentence: 'blocks' },
  feedForwardMultiplier: {
    rule: size(),
    default: 4,
    key: 'ff_mult',
    sentence: 'inner channels of the feed-forward, in multiples of `dim`',
  },
  routedRotaryEmb: {
    rule: boolean,
    default: false,
    sentence: "whether routed attention, too, turns queries and keys by their positions' angles",
  },
  maxPositions: {
    rule: size(),
    default: null,
    alias: 'seq_len',
    sentence: 'rows of the position table',
    note: 'null: there is none, and inputs may be of any length',
  },
  routedLayers: {
    rule: integers,
    isOptional: true,
    sentence: 'blocks that are routed, counted from 0',
    note: 'without it all are; the others have local attention alone, and no weights for routing',
  },
} as const satisfies Schema

export function isRequired(spec: OptionSpec): boolean {
  return spec.default === undefined && spec.inherits === undefined && !spec.isOptional
}

function isPositive(value: number): boolean {
  return Math.fround(value) > 0
}
