import type { ModelFacts, Source } from '../protocol.js'
import { h } from './dom.js'
import { count, parameters as size } from './format.js'
import { OwnModel } from './own-model.js'
import type { Problem } from './problems.js'
import { layersInWords, publishedRouting } from './words.js'

/** What the model and the browser are, and how to open another model. */
export class ModelView {
  readonly #facts = h('dl', { class: 'facts' })
  readonly #facilities = h('tbody')
  readonly #notes = h('p', { class: 'notes', hidden: true })
  readonly #own: OwnModel

  constructor(panel: HTMLElement, onOpen: (source: Source, bytes: boolean) => void) {
    this.#own = new OwnModel(panel, onOpen)
    panel.append(
      h(
        'div',
        { class: 'cards' },
        h('section', { class: 'card' }, h('h2', {}, 'This model'), this.#facts, this.#notes),
        h(
          'section',
          { class: 'card' },
          h('h2', {}, 'This browser'),
          h('p', { class: 'hint' }, 'What of it is used, and what is not, and why.'),
          h(
            'table',
            {},
            h('thead', {}, h('tr', {}, ...['What', 'Used', 'Not used, and why'].map((name) => h('th', { scope: 'col' }, name)))),
            this.#facilities,
          ),
        ),
        this.#own.element,
      ),
    )
  }

  /** Says why a model could not be opened, or no longer. */
  fail(problem: Problem | undefined): void {
    this.#own.fail(problem)
  }

  show(facts: ModelFacts): void {
    const {
      name,
      parameters,
      depth,
      heads,
      experts,
      held,
      localWindow,
      routedWindow,
      routedLayers,
      vocabulary,
      maxPositions,
      quantized,
      causal,
    } = facts
    const rows: [string, string][] = [
      ['Name', name],
      ['Parameters', `${size(parameters)}${quantized ? ', in 8 bits each' : ''}`],
      ['Layers', `${depth}, with ${heads} heads each`],
      ['With experts', routedLayers.length === depth ? 'all layers' : layersInWords(routedLayers)],
      ['Experts', `${experts} in each of these layers, holding ${count(held)} tokens at most`],
      ['Local window', `${count(localWindow)} tokens`],
      ['Held tokens', `every ${count(routedWindow)} tokens the list is updated: better tokens come in, the weakest leave for good`],
      ['Longest text', maxPositions === null ? 'of any length' : `${count(maxPositions)} tokens`],
      ['Vocabulary', `${count(vocabulary)} tokens`],
      ['Routing', causal ? 'causal: decided without later text' : 'published: later tokens change what earlier ones read'],
    ]
    this.#facts.replaceChildren(...rows.flatMap(([term, text]) => [h('dt', {}, term), h('dd', {}, text)]))
    this.#notes.hidden = causal
    this.#notes.textContent = `${publishedRouting} For every new token the whole text is computed again, so long texts are slow.`
    this.#facilities.replaceChildren(
      ...facts.facilities.map(({ name, used, reason }) =>
        h('tr', {}, h('th', { scope: 'row' }, name), h('td', {}, used), h('td', { class: 'reason' }, reason || 'nothing')),
      ),
    )
  }
}
