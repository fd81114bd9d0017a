import type { Chapter } from '../protocol.js'
import type { SurpriseCurve } from './curve.js'
import { h } from './dom.js'
import { count } from './format.js'
import { longChapters } from './passages.js'

/** More chapters than that are not listed: a text with so many headings has other ones in mind. */
const MOST = 200

/** The chapters that were found, how surprising each is, and where most. */
export class ChapterList {
  readonly element: HTMLElement
  readonly #rows = h('tbody')
  readonly #onGoTo: (position: number) => void
  #shown = 0

  constructor(onGoTo: (position: number) => void) {
    this.#onGoTo = onGoTo
    const names = ['Chapter', 'Bits a token', 'Most surprising passage']
    this.element = h(
      'section',
      { class: 'card chapters', hidden: true },
      h('h2', {}, 'Chapters'),
      h(
        'div',
        { class: 'table', tabIndex: 0, attributes: { role: 'group', 'aria-label': 'Chapters' } },
        h('table', {}, h('thead', {}, h('tr', {}, ...names.map((name) => h('th', { scope: 'col' }, name)))), this.#rows),
      ),
    )
  }

  /** @param length tokens so far: the last chapter ends there, for now */
  show(chapters: readonly Chapter[], length: number, curve: SurpriseCurve): void {
    const listed = longChapters(chapters, length).slice(0, MOST)
    this.element.hidden = listed.length === 0
    if (listed.length < this.#shown) {
      this.#rows.replaceChildren()
      this.#shown = 0
    }
    // the last row may have changed since
    if (this.#shown > 0) this.#rows.lastElementChild!.remove()
    for (let i = Math.max(this.#shown - 1, 0); i < listed.length; i++) {
      const { title, start, end } = listed[i]!
      this.#rows.append(this.#row(title, start, curve.peak(start, end)))
    }
    this.#shown = listed.length
  }

  #row(title: string, start: number, { position, bits, mean }: ReturnType<SurpriseCurve['peak']>): HTMLElement {
    const goTo = (at: number, text: string): HTMLElement =>
      h('button', { type: 'button', class: 'link', on: { click: () => this.#onGoTo(at) } }, text)
    return h(
      'tr',
      {},
      h('th', { scope: 'row' }, goTo(start, title)),
      h('td', {}, mean.toFixed(2)),
      h('td', {}, goTo(position, `${bits.toFixed(1)} bits at token ${count(position + 1)}`)),
    )
  }
}
