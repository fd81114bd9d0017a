import { type ModelFacts, READ_AT_ONCE } from '../protocol.js'
import { h } from './dom.js'
import { count } from './format.js'

/** For somebody who does not know the layer: what is seen here, and what an expert's held tokens are. */
export function heldTokensExplained(facts: ModelFacts, canBranch: boolean): HTMLElement[] {
  const { localWindow, routedWindow, held, experts, causal, routedLayers, depth } = facts
  const expert = experts === 1 ? 'one expert' : `${count(experts)} experts`
  const which =
    routedLayers.length === depth
      ? 'Each of its layers'
      : `${routedLayers.length === 1 ? 'One' : count(routedLayers.length)} of its ${count(depth)} layers`
  const has = routedLayers.length === 1 || routedLayers.length === depth ? 'has' : 'each have'
  const action = canBranch ? 'Click to pin it, and to choose another word; the text after it is written anew.' : 'Click to pin it.'
  if (!causal)
    return [
      h('h2', {}, 'Look at a word'),
      h('p', {}, `Tap or point at any word to see what the model expected there. ${action}`),
      h('p', {}, publishedRouting),
    ]
  return [
    h('h2', {}, 'How does it remember?'),
    h(
      'p',
      {},
      `To guess the next word, the model looks directly at the last ${count(localWindow)} tokens (a token is a word or a piece of one). Older ones are forgotten, except those on a few short lists.`,
    ),
    h(
      'p',
      {},
      `${which} (steps of its calculation) ${has} ${expert} with such a list. An expert scores every token that goes by, and holds the ${count(held)} best so far. Those are its `,
      h('strong', {}, 'held tokens'),
      `. Every ${count(routedWindow)} tokens the list is updated: better tokens come in, the weakest leave for good.`,
    ),
    h(
      'p',
      {},
      `So the lists, and with them the model’s memory, never grow, though the text does. Only some words may read a list: of every ${count(routedWindow)} tokens those that the expert’s other score, for readers, puts first. From such a word, curves lead to what it read.`,
    ),
    h(
      'p',
      {},
      'Above the text each line is one expert’s list: a mark for each held token, tall where the boxed word read much of it. The shaded part is what that word saw directly.',
    ),
    h('p', { class: 'hint' }, `Tap or point at any word to see which held tokens it read. ${action}`),
  ]
}

/** Why such a model has no map, and why it is slow. */
export const publishedRouting =
  'This model has the published routing: it decides with the whole text in view which words are kept, so a later word changes what earlier ones read. There is no record of what one word read, and no map of it; models with “causal: true” have one.'

export const publishedWriting =
  'This model writes slower the longer the text is: with its routing (the published one) each new word changes what earlier words read, so the whole text is computed again for every token. It begins with a short sentence for that reason.'

export function publishedReading({ maxPositions }: ModelFacts): string {
  const piece = Math.min(READ_AT_ONCE, maxPositions ?? Infinity)
  return `This model reads ${count(piece)} tokens at a time and then forgets them: with its routing (the published one) each new word changes what earlier words read, and a long text in one piece would take hours. Later words of a piece have a say in how surprising a word is.`
}

/**
 * What the marks in the text mean.
 * @returns the routing's marks are in an element of their own: some models have none
 */
export function textLegend(hasHeat: boolean): { element: HTMLElement; routing: HTMLElement } {
  const mark = (name: string, text: string): HTMLElement => h('span', { class: `legend-${name}` }, text)
  const routing = h(
    'span',
    {},
    mark('looked-at', 'Boxed'),
    ': the token that is looked at. ',
    mark('local', 'Underlined'),
    ': read directly, the darker the more. ',
    mark('held', 'Framed'),
    ': kept by an expert and read by the boxed word, the stronger the more.',
  )
  const others = hasHeat
    ? [mark('heat', 'Reddish'), ': surprising. ', mark('hottest', 'Dotted'), ': very surprising. ']
    : ['Text in grey: the beginning, which was given. ']
  return { element: h('p', { class: 'legend hint' }, ...others, routing), routing }
}

/** Numbers of layers, which begin with 0, as people count them: “layers 5 and 6”. */
export function layersInWords(layers: readonly number[]): string {
  const [first, last] = [layers[0]!, layers.at(-1)!]
  if (layers.length === 1) return `layer ${first + 1}`
  if (layers.length > 2 && last - first === layers.length - 1) return `layers ${first + 1} to ${last + 1}`
  const numbers = layers.map((layer) => String(layer + 1))
  return `layers ${numbers.slice(0, -1).join(', ')} and ${numbers.at(-1)}`
}
