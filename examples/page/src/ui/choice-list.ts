import type { Choice, Drawn, Look } from '../protocol.js'
import { h } from './dom.js'
import { percent, visible } from './format.js'

/** One alternative in the list. */
interface Row {
  readonly element: HTMLElement
  readonly drawn: HTMLElement
}

/**
 * What the model expected in a place. Where text is written, each alternative has two chances: the model's, and the one
 * with which it is drawn.
 */
export class ChoiceList {
  readonly element: HTMLElement
  readonly #list = h('ol', { class: 'choices' })
  readonly #onBranch: ((position: number, choice: Choice) => void) | undefined
  #look: Look | undefined
  #rows: Row[] = []
  #drawn: Drawn | undefined

  /** @param onBranch another token is to stand in the place; if undefined, nothing is drawn, and the model's chance is the only one */
  constructor(onBranch: ((position: number, choice: Choice) => void) | undefined) {
    this.#onBranch = onBranch
    this.element = h('div', {}, onBranch ? key() : null, this.#list)
    this.#list.classList.toggle('two-chances', onBranch !== undefined)
  }

  /** Shows the alternatives of a token; how they are drawn is shown when it is known. */
  show(look: Look | undefined): void {
    if (look === this.#look) return
    this.#look = look
    this.#drawn = undefined
    this.element.hidden = !look?.choices.length
    this.#rows = look?.choices.map((choice) => this.#row(choice, look)) ?? []
    const others =
      this.#onBranch && look && this.#rowOf('others', 'any other', 1 - sumOf(look.choices.map(({ probability }) => probability)))
    if (others) this.#rows.push(others)
    this.#list.replaceChildren(...this.#rows.map(({ element }) => element))
  }

  /** Shows with which probability each alternative is drawn, if they are still those of this token. */
  showDrawn(look: Look, found: Drawn): void {
    if (look !== this.#look) return
    this.#drawn = found
    const all = [...found.probabilities, found.others]
    this.#rows.forEach(({ element, drawn }, index) => {
      const probability = all[index]!
      const isNever = probability === 0
      element.classList.toggle('never-drawn', isNever)
      element.style.setProperty('--drawn', String(probability))
      drawn.replaceChildren(isNever ? 'never' : percent(probability))
    })
  }

  /** How the alternatives are drawn, in words; empty if it is not known. */
  get inWords(): string {
    const drawn = this.#drawn?.probabilities
    const choices = this.#look?.choices
    if (!drawn || !choices) return ''
    const best = drawn.indexOf(Math.max(...drawn))
    const never = drawn.filter((probability) => probability === 0).length
    if (never === choices.length) return `None of the ${choices.length} alternatives is drawn.`
    const left = never === 0 ? '' : ` ${never} of ${choices.length} alternatives ${never === 1 ? 'is' : 'are'} never drawn.`
    return `“${visible(choices[best]!.text)}” is drawn with ${percent(drawn[best]!)}.${left}`
  }

  focus(): void {
    this.#list.querySelector('button')?.focus()
  }

  #row(choice: Choice, look: Look): Row {
    const isChosen = choice.id === look.chosen.id
    const onBranch = this.#onBranch
    const branch = onBranch && !isChosen ? () => onBranch(look.position, choice) : undefined
    return this.#rowOf(isChosen ? 'chosen' : '', visible(choice.text), choice.probability, branch)
  }

  #rowOf(name: string, text: string, probability: number, onClick?: () => void): Row {
    const drawn = h('span', { class: 'choice-drawn' })
    const parts = [
      h('span', { class: 'bar' }),
      h('span', { class: 'choice-text' }, text),
      this.#onBranch ? spoken(', the model’s chance ') : null,
      h('span', { class: 'choice-probability' }, percent(Math.max(0, probability))),
      ...(this.#onBranch ? [h('span', { class: 'bar drawn-bar' }), spoken(', drawn: '), drawn] : []),
    ]
    const choice = onClick
      ? h('button', { class: 'choice', type: 'button', title: 'Go on with this instead', on: { click: onClick } }, ...parts)
      : h('span', { class: 'choice' }, ...parts)
    return { element: h('li', { class: name, style: { '--share': String(Math.max(0, probability)) } }, choice), drawn }
  }
}

/** What the two bars and the two figures are. */
function key(): HTMLElement {
  const model = h('span', { class: 'key-model' }, 'model')
  const drawn = h('span', { class: 'key-drawn' }, 'drawn')
  return h('p', { class: 'choice-key hint', attributes: { 'aria-hidden': 'true' } }, model, drawn)
}

function spoken(text: string): HTMLElement {
  return h('span', { class: 'visually-hidden' }, text)
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0)
}
