import { significant, times } from '../../../../bench/lib/statistics.mjs'
import { h } from '../ui/dom.js'
import { figuresOf, type Measurement, type Row } from './figures.js'

/** The figures of one measurement. They change while it runs; the elements around them, which may have the focus, stay. */
export class MeasurementTable {
  readonly element: HTMLElement
  readonly #title: string
  readonly #heading = h('h2')
  readonly #head = h('tr')
  readonly #body = h('tbody')
  readonly #agreement = h('p', { class: 'hint' })

  constructor(title: string) {
    this.#title = title
    const table = h('table', { attributes: { 'aria-label': title } }, h('thead', {}, this.#head), this.#body)
    // wider than a phone: it is moved within a box that the keyboard reaches
    const box = h('div', { class: 'bench-table', tabIndex: 0, attributes: { role: 'region', 'aria-label': title } }, table)
    this.element = h('section', {}, this.#heading, box, this.#agreement)
  }

  show(measurement: Measurement): void {
    const { each, rows, agreement } = measurement
    const rounds = Math.max(...rows.map((row) => figuresOf(measurement, row)?.rounds ?? 0))
    const head = ['Program', 'Tokens/s', 'Ours is', 'Slowest to fastest', `ms ${each}`]
    this.#heading.textContent = `${this.#title}: ${rounds} ${rounds === 1 ? 'round' : 'rounds'}`
    this.#head.replaceChildren(...head.map((name) => h('th', { scope: 'col' }, name)))
    this.#body.replaceChildren(...rows.map((row) => tableRow(measurement, row)))
    this.#agreement.textContent = agreement
  }
}

function tableRow(measurement: Measurement, row: Row): HTMLElement {
  const name = h('th', { scope: 'row' }, row.name)
  const figures = figuresOf(measurement, row)
  const problem = row.problem !== '' && h('span', { class: 'bench-problem' }, row.problem)
  if (!figures) return h('tr', {}, name, h('td', { colSpan: 4 }, problem || 'nothing yet'))
  const { median, slowest, fastest, milliseconds, ratio } = figures
  if (problem) name.append(h('br'), problem)
  const cells = [
    significant(median),
    ratio > 0 ? times(ratio) : '–',
    `${significant(slowest)} – ${significant(fastest)}`,
    significant(milliseconds),
  ]
  return h('tr', {}, name, ...cells.map((text) => h('td', {}, text)))
}
