import type { HeldNow, Look, ModelFacts } from '../protocol.js'
import { EXPERT_COLOURS } from './attention.js'
import { Drawing } from './canvas.js'
import { h } from './dom.js'
import { count, megabytes } from './format.js'
import { layersInWords } from './words.js'

const ROW = 12
const GAP = 4
/** Of a row's height, that of what is held and not read. */
const LOWEST = 0.35
/** More experts than that share the strip's height. */
const MOST_ROWS = 8

interface Row {
  readonly layer: number
  readonly expert: number
  readonly held: Int32Array
}

/** The whole text as a line, and on it what each expert holds: the text grows, what is held does not. */
export class HeldStrip {
  readonly element: HTMLElement
  readonly #drawing: Drawing
  readonly #caption = h('p', { class: 'strip-caption' })
  #rows: Row[] = []
  /** What is drawn before anything is held. */
  #empty: Row[] = []
  #length = 0
  #localWindow = 0
  #window = 0
  #stateBytes = 0
  /** Which line is which. */
  #lines = ''
  #look: Look | undefined

  constructor() {
    this.#drawing = new Drawing('strip-canvas', 'What the experts hold', (context, width, height, colour) =>
      this.#draw(context, width, height, colour),
    )
    // as high as the shipped model's, so that nothing moves when that is loaded
    this.#drawing.canvas.style.height = `${2 * (ROW + GAP) + 14}px`
    this.element = h('figure', { class: 'strip' }, this.#drawing.canvas, h('figcaption', {}, this.#caption))
  }

  /** Begins anew for a model. The strip is as high as its experts need from the start. */
  clear({ localWindow, routedWindow, experts, routedLayers, causal }: ModelFacts): void {
    const rows = experts * routedLayers.length
    this.element.hidden = !causal
    this.#window = routedWindow
    this.#lines = `held by ${layersInWords(routedLayers)}, from the top${experts > 1 ? `, ${experts} experts each` : ''}`
    this.#rows = []
    this.#empty = Array.from({ length: Math.max(rows, 1) }, () => ({ layer: -1, expert: 0, held: new Int32Array() }))
    this.#length = 0
    this.#stateBytes = 0
    this.#localWindow = localWindow
    this.#look = undefined
    this.#drawing.canvas.style.height = `${Math.min(Math.max(rows, 1), MOST_ROWS) * (ROW + GAP) + 14}px`
    this.#describe()
  }

  set length(value: number) {
    this.#length = value
    this.#describe()
  }

  set held({ layers, stateBytes }: HeldNow) {
    this.#rows = layers.flatMap(({ layer, held }) => held.map((positions, expert) => ({ layer, expert, held: positions })))
    this.#stateBytes = stateBytes
    this.#describe()
  }

  /** Shows what was held for one token, instead of now. */
  look(look: Look | undefined): void {
    this.#look = look && look.layers.length > 0 ? look : undefined
    this.#drawing.redraw()
  }

  #describe(): void {
    const most = Math.max(0, ...this.#rows.map(({ held }) => held.length))
    const text =
      this.#length === 0
        ? 'Nothing is read yet.'
        : most === 0
          ? this.#length > this.#window
            ? `Reading the beginning: ${count(this.#length)} tokens.`
            : `${count(this.#length)} tokens so far. The experts begin to hold some when the first ${count(this.#window)} are read.`
          : `${count(this.#length)} tokens so far; each expert holds ${count(most)} of them. The model’s memory: ${megabytes(this.#stateBytes)}, however long the text.`
    if (this.#caption.textContent !== text) this.#caption.textContent = text
    this.#drawing.label = `A line for each expert: the positions it holds in the text. ${text}`
    this.#drawing.redraw()
  }

  #draw(context: CanvasRenderingContext2D, width: number, height: number, colour: (name: string) => string): void {
    const length = Math.max(this.#length, 1)
    const x = (position: number): number => (position / length) * width
    const mark = Math.max(width / length, 1)
    const rows = this.#rows.length > 0 ? this.#rows : this.#empty
    const now = this.#look?.position ?? length - 1
    const step = Math.min(ROW + GAP, (height - 14) / rows.length)
    const tall = step > GAP * 2 ? step - GAP : step * 0.8
    rows.forEach(({ layer, expert, held }, index) => {
      const top = index * step
      context.fillStyle = colour('track')
      context.fillRect(0, top, width, tall)
      context.fillStyle = colour('near')
      const [left, wide] = this.#length === 0 ? [0, 0] : [x(Math.max(now - this.#localWindow, 0)), x(Math.min(this.#localWindow, now) + 1)]
      context.fillRect(left, top, wide, tall)
      // an edge that is seen where two shades of grey are not told apart
      context.fillStyle = colour('near-strong')
      context.fillRect(left, top + tall - 2, wide, 2)
      // every row is of the same token
      const shown = this.#look?.layers[layer]?.experts[expert]
      context.fillStyle = colour(`expert-${expert % EXPERT_COLOURS}`)
      const positions = shown?.held ?? (this.#look ? new Int32Array() : held)
      const most = shown?.weights ? Math.max(...shown.weights.subarray(1)) : 0
      positions.forEach((position, i) => {
        // of a token that is looked at: the taller, the more it read; low, if it did not read the list
        const share = shown ? (shown.weights ? Math.sqrt(shown.weights[i + 1]! / most) : 0) : 1
        const high = tall * (LOWEST + (1 - LOWEST) * share)
        context.fillRect(x(position), top + tall - high, mark, high)
      })
    })
    const bottom = rows.length * step
    context.fillStyle = colour('ink')
    context.fillRect(Math.min(x(now), width - 2), 0, 2, bottom - step + tall)
    context.font = `10px ${colour('sans')}`
    context.fillStyle = colour('muted')
    context.textBaseline = 'top'
    context.fillText('first token', 0, bottom)
    context.textAlign = 'right'
    context.fillText('newest', width, bottom)
    context.textAlign = 'center'
    context.fillText(this.#lines, width / 2, bottom)
    context.textAlign = 'left'
  }
}
