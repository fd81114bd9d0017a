import type { SamplingSettings } from '../protocol.js'
import { h } from './dom.js'

interface Control {
  readonly key: keyof SamplingSettings
  readonly label: string
  readonly hint: string
  readonly min: number
  readonly max: number
  readonly step: number
  readonly value: number
}

const CONTROLS: readonly Control[] = [
  {
    key: 'temperature',
    label: 'Temperature',
    hint: '0 always takes the likeliest token; higher values take more risks',
    min: 0,
    max: 2,
    step: 0.05,
    value: 0.8,
  },
  {
    key: 'topP',
    label: 'Top-p',
    hint: 'chooses among the likeliest tokens that together have this probability',
    min: 0.05,
    max: 1,
    step: 0.05,
    value: 0.95,
  },
  {
    key: 'topK',
    label: 'Top-k',
    hint: 'chooses among this many of the likeliest tokens; 0 sets no limit',
    min: 0,
    max: 200,
    step: 1,
    value: 0,
  },
  {
    key: 'minP',
    label: 'Min-p',
    hint: 'leaves out tokens less likely than this share of the likeliest one',
    min: 0,
    max: 0.5,
    step: 0.01,
    value: 0,
  },
  {
    key: 'repetitionPenalty',
    label: 'Repetition penalty',
    hint: 'makes tokens that are already in the text less likely; 1 switches it off',
    min: 1,
    max: 2,
    step: 0.05,
    value: 1,
  },
  {
    key: 'frequencyPenalty',
    label: 'Frequency penalty',
    hint: 'lowers a token’s score for each time it was written; 0 switches it off',
    min: 0,
    max: 2,
    step: 0.05,
    value: 0,
  },
  {
    key: 'presencePenalty',
    label: 'Presence penalty',
    hint: 'lowers a token’s score if it was written before; 0 switches it off',
    min: 0,
    max: 2,
    step: 0.05,
    value: 0,
  },
  { key: 'maxTokens', label: 'Tokens at a time', hint: 'how many are written before it stops', min: 16, max: 2000, step: 1, value: 400 },
  { key: 'seed', label: 'Seed', hint: 'the same seed writes the same text', min: 0, max: 9999, step: 1, value: 1 },
]

/** Sliders for how the next token is chosen. */
export class SamplingControls {
  readonly element: HTMLElement
  readonly #onChange: () => void
  readonly #touched = new Set<keyof SamplingSettings>()
  readonly #outputs = new Map<keyof SamplingSettings, HTMLOutputElement>()
  readonly #inputs = new Map<keyof SamplingSettings, HTMLInputElement>()

  /** @param onChange a setting was changed by the visitor */
  constructor(onChange: () => void) {
    this.#onChange = onChange
    this.element = h(
      'details',
      { class: 'sampling' },
      h('summary', {}, 'How the next word is chosen'),
      h('p', { class: 'hint' }, 'Pin a word of the text to see at once what these do to its alternatives.'),
      h('div', { class: 'controls' }, ...CONTROLS.map((control) => this.#control(control))),
    )
  }

  get settings(): SamplingSettings {
    const entries = CONTROLS.map(({ key }) => [key, this.#inputs.get(key)!.valueAsNumber])
    return Object.fromEntries(entries)
  }

  /** Changes what the visitor has not changed. */
  set(key: keyof SamplingSettings, value: number): void {
    const input = this.#inputs.get(key)!
    if (this.#touched.has(key)) return
    input.valueAsNumber = value
    this.#outputs.get(key)!.textContent = input.value
  }

  #control({ key, label, hint, min, max, step, value }: Control): HTMLElement {
    const id = `sampling-${key}`
    const isRange = key !== 'seed'
    const output = h('output', { htmlFor: id } as object, String(value))
    const input = h('input', {
      id,
      type: isRange ? 'range' : 'number',
      min: String(min),
      max: String(max),
      step: String(step),
      value: String(value),
      attributes: { 'aria-describedby': `${id}-hint` },
      on: {
        input: () => {
          this.#touched.add(key)
          output.textContent = input.value
          this.#onChange()
        },
        // an empty number field would be NaN
        change: () => Number.isNaN(input.valueAsNumber) && (input.value = String(value)),
      },
    })
    this.#inputs.set(key, input)
    this.#outputs.set(key, output)
    return h(
      'div',
      { class: 'control' },
      h('label', { htmlFor: id }, label),
      isRange ? output : null,
      input,
      h('p', { id: `${id}-hint`, class: 'hint' }, hint),
    )
  }
}
