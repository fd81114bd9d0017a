import type { Choice, Drawn, Look, ModelFacts, Piece } from '../protocol.js'
import { lookOfHead } from './attention.js'
import { ChoiceList } from './choice-list.js'
import { announce, h } from './dom.js'
import { count, percent, surprise, visible } from './format.js'
import { HeadPlot, LayerPlots } from './layer-plots.js'
import { describeLayer, spokenLayer } from './layer-words.js'
import { tokenInWord } from './token-in-word.js'
import { heldTokensExplained, publishedRouting } from './words.js'

interface Events {
  /** Another token is to stand where the one that is looked at stands. Not offered if undefined. */
  onBranch: ((position: number, choice: Choice) => void) | undefined
  /** Another layer, or another head, is to be shown. */
  onChoose(): void
  onGoTo(position: number): void
}

/** Tells the choices of head apart: each tab has an inspector. */
let inspectors = 0

/** Everything about the token that is looked at: its alternatives, and what each layer read for it. */
export class Inspector {
  readonly element: HTMLElement
  readonly plots: LayerPlots
  readonly #events: Events
  readonly #token = h('div', { class: 'token-head' })
  readonly #head = h('select', { id: `head-${++inspectors}` })
  readonly #headChoice = h('p', { class: 'head-choice' }, h('label', { htmlFor: this.#head.id }, 'Heads'), this.#head)
  readonly #choices: ChoiceList
  readonly #words = h('div', { class: 'layer-words' })
  readonly #heads = new HeadPlot()
  readonly #empty = h('div', { class: 'inspector-empty' })
  /** The same once more, for who looks at a token already. */
  readonly #again = h('div', { class: 'inspector-empty' })
  readonly #full: HTMLElement
  readonly #reading: HTMLElement
  #facts: ModelFacts | undefined
  #look: Look | undefined
  #textOf: (position: number) => Piece | undefined = () => undefined

  constructor(events: Events) {
    this.#events = events
    this.#choices = new ChoiceList(events.onBranch)
    this.plots = new LayerPlots((layer) => {
      this.#showLayer(layer)
      events.onChoose()
    })
    this.#head.addEventListener('change', () => {
      if (!this.#look) return
      this.plots.show(this.look)
      this.#showLayer(this.plots.chosen)
      events.onChoose()
    })
    this.#reading = h(
      'div',
      {},
      h('h3', {}, 'What it read, layer by layer'),
      this.plots.element,
      h(
        'p',
        { class: 'hint' },
        'Each plot goes from the first token to this one. Up, in colour: held tokens, taller the more was read (flat: not read). Down, in grey: near ones.',
      ),
      this.#headChoice,
      this.#words,
      this.#heads.element,
    )
    this.#full = h(
      'div',
      { class: 'inspector-full', hidden: true },
      this.#token,
      h('h3', {}, this.#events.onBranch ? 'What the model expected here (choose one to go on from it)' : 'What the model expected here'),
      this.#choices.element,
      this.#reading,
      h('details', {}, h('summary', {}, 'What are held tokens?'), this.#again),
    )
    this.element = h('aside', { class: 'inspector', attributes: { 'aria-label': 'The token that is looked at' } }, this.#empty, this.#full)
  }

  /** @param textOf the text of a token by its position; undefined if it is not at hand */
  open(facts: ModelFacts, textOf: (position: number) => Piece | undefined): void {
    this.#facts = facts
    this.#textOf = textOf
    const heads = Array.from({ length: facts.heads }, (_, head) => h('option', { value: String(head) }, `head ${head + 1}`))
    this.#head.replaceChildren(h('option', { value: '' }, 'the mean of all'), ...heads)
    this.plots.open(facts.depth, facts.causal ? facts.routedLayers : [])
    const explained = heldTokensExplained(facts, this.#events.onBranch !== undefined)
    this.#empty.replaceChildren(...explained)
    this.#again.replaceChildren(...explained.slice(1).map((part) => part.cloneNode(true)))
    this.#again.parentElement!.hidden = !facts.causal
    this.show(undefined, false)
  }

  readonly #textAt = (position: number): Piece | undefined => this.#textOf(position) ?? this.#look?.heldTexts.get(position)

  /** What is shown, of the chosen head. */
  get look(): Look | undefined {
    return this.#look && this.ofHead(this.#look)
  }

  /** A look at the chosen head alone, if one is chosen. */
  ofHead(look: Look): Look {
    return lookOfHead(look, this.#head.value === '' ? undefined : Number(this.#head.value))
  }

  show(look: Look | undefined, isPinned: boolean): void {
    this.#look = look
    this.#empty.hidden = look !== undefined
    this.#full.hidden = look === undefined
    this.#choices.show(look)
    if (!look) return
    const { chosen, bits, position, layers, unsupported } = look
    const likely =
      position > 0
        ? `The model gave it a chance of ${percent(chosen.probability)}: ${surprise(bits)} (${bits.toFixed(1)} bits).`
        : 'The first token: nothing came before it.'
    this.#token.replaceChildren(
      h(
        'h2',
        { class: 'token-name' },
        h('mark', {}, ...tokenInWord(position, this.#textAt)),
        h('small', {}, `token ${count(position + 1)}${isPinned ? ', pinned' : ''}`),
      ),
      h('p', {}, likely),
    )
    this.#reading.hidden = layers.length === 0 && unsupported === ''
    this.plots.element.hidden = this.#headChoice.hidden = this.#heads.element.hidden = layers.length === 0
    this.plots.show(this.look)
    this.#showLayer(this.plots.chosen)
    if (isPinned) announce(`${visible(chosen.text)}. ${likely} ${spokenLayer(this.look!, this.plots.chosen, this.#textAt)}`)
  }

  focusChoices(): void {
    this.#choices.focus()
  }

  /** How the alternatives are drawn, in words; empty if it is not known. */
  get drawnInWords(): string {
    return this.#choices.inWords
  }

  /** Shows with which probability the alternatives of a token are drawn. */
  showDrawn(look: Look, drawn: Drawn): void {
    this.#choices.showDrawn(look, drawn)
  }

  #showLayer(layer: number): void {
    const look = this.#look
    if (!look || !this.#facts) return
    this.#heads.show(look.layers[layer])
    const words = look.unsupported
      ? [h('p', {}, publishedRouting)]
      : describeLayer(this.ofHead(look), layer, this.#facts, this.#textAt, this.#events.onGoTo)
    this.#words.replaceChildren(...words)
  }
}
