import type { ModelFacts } from '../protocol.js'
import { h } from './dom.js'
import { count } from './format.js'

/** For somebody who does not know the layer: what is seen here, and what an expert's held tokens are. */
export function heldTokensExplained(facts: ModelFacts, canBranch: boolean): HTMLElement[] {
  const { localWindow, held, experts, causal, routedLayers, depth } = facts
  const expert = experts === 1 ? 'one expert' : `${count(experts)} experts`
  const which =
    routedLayers.length === depth
      ? 'Each layer'
      : routedLayers.length === 1
        ? 'One layer'
        : `${count(routedLayers.length)} of its ${count(depth)} layers`
  const has = routedLayers.length === 1 || routedLayers.length === depth ? 'has' : 'each have'
  const action = canBranch ? 'Click one to keep it, and to choose another word in its place.' : 'Click one to keep it.'
  if (!causal) return [h('h2', {}, 'Look at a word'), h('p', {}, `Point at any word to see what else could have stood there. ${action}`)]
  return [
    h('h2', {}, 'How does it remember?'),
    h(
      'p',
      {},
      `To write a word, the model looks directly at the ${count(localWindow)} tokens before it (a token is a word or a piece of one). What is older is out of sight, except for what it has kept.`,
    ),
    h(
      'p',
      {},
      `${which} ${has} ${expert}: a keeper of a short list. It scores every token that goes by, and its list is the ${count(held)} best so far. Those are its `,
      h('strong', {}, 'held tokens'),
      '. Once a token with a better score comes, the weakest is dropped for good.',
    ),
    h(
      'p',
      {},
      'So the list, and with it the model’s memory, never grows, though the text does. The line above the text shows which tokens are held; the curves, which of them the newest word has read.',
    ),
    h('p', { class: 'hint' }, `Point at any word to see which held tokens it read. ${action}`),
  ]
}
