import type { ExpertLook, LayerLook, Look, ModelFacts, Piece } from '../protocol.js'
import { EXPERT_COLOURS } from './attention.js'
import { h } from './dom.js'
import { count, percent } from './format.js'
import { spokenWord, tokenInWord } from './token-in-word.js'

type TextOf = (position: number) => Piece | undefined
type GoTo = (position: number) => void

const STRONGEST = 6
/** Of these, so many are read out. */
const SPOKEN = 3

/** What a layer did for a token, in words, with its strongest sources. */
export function describeLayer(look: Look, index: number, facts: ModelFacts, textOf: TextOf, goTo: GoTo): HTMLElement[] {
  const layer = look.layers[index]
  if (!layer) return []
  const local = localWords(layer, look.position, textOf, goTo)
  const isFirstWindow = look.position < facts.routedWindow
  if (layer.experts.length === 0) return [h('p', {}, `Layer ${index + 1} has local attention alone.`), local]
  if (isFirstWindow) {
    const text = `In the first ${facts.routedWindow} tokens nothing is old enough to be held: the experts are silent.`
    return [h('p', {}, text), local]
  }
  return [...layer.experts.map((expert, number) => expertWords(expert, number, facts, textOf, goTo)), local]
}

/** The same in few words, to be read out. */
export function spokenLayer(look: Look, index: number, textOf: TextOf): string {
  const layer = look.layers[index]
  if (!layer) return ''
  const list = (positions: readonly number[]): string => [...new Set(positions.map((position) => spokenWord(position, textOf)))].join(', ')
  const experts = layer.experts.map(({ weights, held }, number) =>
    weights
      ? `Expert ${number + 1}: read mostly ${list(
          strongest(weights.subarray(1))
            .slice(0, SPOKEN)
            .map((i) => held[i]!),
        )}.`
      : `Expert ${number + 1}: list not read.`,
  )
  const near = strongest(layer.local).slice(0, SPOKEN)
  return `Layer ${index + 1}. ${experts.join(' ')} Near: ${list(near.map((i) => layer.localStart + i))}.`
}

function expertWords(expert: ExpertLook, number: number, facts: ModelFacts, textOf: TextOf, goTo: GoTo): HTMLElement {
  const name = h('strong', { class: 'expert-name' }, `Expert ${number + 1}`)
  const style = { '--expert': `var(--expert-${number % EXPERT_COLOURS})` }
  const { weights, held } = expert
  if (!weights) {
    const none = allHeld(held, undefined, textOf, goTo)
    const text = ` did not let this token read its list: ${count(facts.queries)} or more before it, in the same stretch of ${count(facts.routedWindow)} tokens, had as high a score for readers.`
    return h('div', { class: 'expert', style }, h('p', {}, name, text), none)
  }
  const sources = strongest(weights.subarray(1)).map((i) => ({ position: held[i]!, weight: weights[i + 1]! }))
  const text = ` let this token read its list of ${count(held.length)} tokens. ${percent(weights[0]!)} of the attention went to none of them; the rest mostly to:`
  const all = allHeld(held, weights.subarray(1), textOf, goTo)
  return h('div', { class: 'expert', style }, h('p', {}, name, text), sourceList(sources, textOf, goTo), all)
}

/** The whole list, made when it is opened. */
function allHeld(held: Int32Array, weights: Float32Array | undefined, textOf: TextOf, goTo: GoTo): HTMLElement {
  const details = h('details', { class: 'all-held' }, h('summary', {}, `All ${count(held.length)} held tokens`))
  details.addEventListener(
    'toggle',
    () =>
      details.append(
        h('p', { class: 'hint' }, 'In dark letters the token, in grey the rest of its word.'),
        sourceList(
          Array.from(held, (position, i) => ({ position, weight: weights?.[i] })),
          textOf,
          goTo,
        ),
      ),
    { once: true },
  )
  return details
}

function localWords({ localStart, local }: LayerLook, position: number, textOf: TextOf, goTo: GoTo): HTMLElement {
  const sources = strongest(local).map((i) => ({ position: localStart + i, weight: local[i]! }))
  const text = `Local attention read this token and the ${count(position - localStart)} before it, mostly:`
  return h('div', { class: 'expert', style: { '--expert': 'var(--near-strong)' } }, h('p', {}, text), sourceList(sources, textOf, goTo))
}

function sourceList(sources: readonly { position: number; weight: number | undefined }[], textOf: TextOf, goTo: GoTo): HTMLElement {
  return h(
    'ul',
    { class: 'sources' },
    ...sources.map(({ position, weight }) => {
      const button = h(
        'button',
        { type: 'button', class: 'source', title: `token ${count(position + 1)}`, on: { click: () => goTo(position) } },
        ...tokenInWord(position, textOf),
        weight === undefined ? null : h('small', {}, ` ${percent(weight)}`),
      )
      return h('li', {}, button)
    }),
  )
}

/** Indices of the largest weights, the largest first. */
function strongest(weights: Float32Array): number[] {
  return [...weights.keys()].sort((a, b) => weights[b]! - weights[a]!).slice(0, STRONGEST)
}
