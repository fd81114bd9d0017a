import type { LayerLook, Look } from '../protocol.js'
import { EXPERT_COLOURS, headsOf } from './attention.js'
import { Drawing } from './canvas.js'
import { h } from './dom.js'

type Colour = (name: string) => string

/** All layers of a token as small multiples; one of them is chosen, and shown large elsewhere. */
export class LayerPlots {
  readonly element: HTMLElement
  readonly #onChoose: (layer: number) => void
  #cards: { button: HTMLButtonElement; drawing: Drawing }[] = []
  #look: Look | undefined
  #chosen = 0

  constructor(onChoose: (layer: number) => void) {
    this.#onChoose = onChoose
    this.element = h('div', { class: 'layers', attributes: { role: 'group', 'aria-label': 'Layers' } })
  }

  get chosen(): number {
    return this.#chosen
  }

  /** Begins anew for a model: the last routed layer is chosen. */
  open(depth: number, routed: readonly number[]): void {
    this.#look = undefined
    this.#chosen = routed.at(-1) ?? depth - 1
    this.#cards = Array.from({ length: depth }, (_, layer) => {
      const name = `Layer ${layer + 1}`
      const drawing = new Drawing('layer-canvas', name, (context, width, height, colour) => {
        const shown = this.#look?.layers[layer]
        if (shown) drawLayer(context, width, height, colour, shown, this.#look!.position)
      })
      drawing.canvas.setAttribute('aria-hidden', 'true')
      const isRouted = routed.includes(layer)
      const kind = isRouted ? 'routed' : 'local'
      const button = h(
        'button',
        { class: `layer ${kind}`, type: 'button', on: { click: () => this.choose(layer) } },
        h('span', { class: 'layer-name' }, name, h('small', {}, isRouted ? 'local + experts' : 'local')),
        drawing.canvas,
      )
      return { button, drawing }
    })
    this.element.replaceChildren(...this.#cards.map(({ button }) => button))
    this.#mark()
  }

  choose(layer: number): void {
    this.#chosen = layer
    this.#mark()
    this.#onChoose(layer)
  }

  show(look: Look | undefined): void {
    this.#look = look
    for (const { drawing } of this.#cards) drawing.redraw()
  }

  #mark(): void {
    this.#cards.forEach(({ button }, layer) => button.setAttribute('aria-pressed', String(layer === this.#chosen)))
  }
}

/** Of a plot's width, the share of what is too far for local attention, at most. */
const FAR = 0.62

/** Bars over the text: local attention grows down from the middle line, each expert's up, in its colour. */
function drawLayer(
  context: CanvasRenderingContext2D,
  width: number,
  height: number,
  colour: Colour,
  look: LayerLook,
  position: number,
): void {
  const middle = look.experts.length > 0 ? height * 0.62 : height * 0.25
  // a long text would leave the near tokens no width that can be seen
  const far = look.localStart
  const split = far === 0 ? 0 : Math.min(far / (position + 1), FAR) * width
  const near = position + 1 - far
  const x = (at: number): number => (at < far ? (at / far) * split : split + ((at - far) / near) * (width - split))
  const wide = (at: number): number => Math.max(at < far ? split / far : (width - split) / near, 1)
  context.fillStyle = colour('track')
  context.fillRect(0, middle, width, 1)
  const most = Math.max(...look.local)
  context.fillStyle = colour('near-strong')
  look.local.forEach((weight, i) =>
    context.fillRect(x(far + i), middle + 1, wide(far + i), Math.sqrt(weight / most) * (height - middle - 1)),
  )
  look.experts.forEach(({ held, weights }, expert) => {
    context.fillStyle = colour(`expert-${expert % EXPERT_COLOURS}`)
    const largest = weights ? Math.max(...weights.subarray(1), 1e-9) : 1
    held.forEach((at, i) => {
      // held, but not read: a tick on the line
      const tall = weights ? Math.sqrt(weights[i + 1]! / largest) * middle : 0
      context.fillRect(x(at), middle - tall, wide(at), Math.max(tall, 1))
    })
  })
}

const HEADS =
  'Each row is a head, one of several readers side by side. From the left: the share that went to nothing on the list, the held tokens, the oldest first, and what is near.'

/** One layer's heads, a row each: on the left what each expert held, on the right the local window. */
export class HeadPlot {
  readonly element: HTMLElement
  readonly #drawing: Drawing
  #layer: LayerLook | undefined

  constructor() {
    this.#drawing = new Drawing('heads-canvas', 'Attention of each head', (context, width, height, colour) => {
      if (this.#layer) drawHeads(context, width, height, colour, this.#layer)
    })
    this.element = h('div', { class: 'heads' }, this.#drawing.canvas, h('p', { class: 'hint' }, HEADS))
  }

  show(layer: LayerLook | undefined): void {
    this.#layer = layer
    const heads = layer ? headsOf(layer) : 4
    this.#drawing.canvas.style.height = `${Math.min(heads, 16) * 12 + 16}px`
    this.#drawing.label = `${heads} heads, a row each: the weights of held tokens on the left, of the local window on the right`
    this.#drawing.redraw()
  }
}

function drawHeads(context: CanvasRenderingContext2D, width: number, height: number, colour: Colour, layer: LayerLook): void {
  const heads = headsOf(layer)
  const row = (height - 16) / heads
  const parts = layer.experts.filter(({ held }) => held.length > 0).length
  const share = parts > 0 ? (width * 0.62) / parts : 0
  const gap = 6
  context.font = `10px ${colour('sans')}`
  context.textBaseline = 'bottom'
  let left = 0
  layer.experts.forEach(({ held, byHead }, expert) => {
    if (held.length === 0) return
    const name = colour(`expert-${expert % EXPERT_COLOURS}`)
    drawRows(context, { left, width: share - gap, row, heads }, byHead, held.length + 1, name, colour('track'))
    context.fillStyle = colour('muted')
    context.fillText(byHead ? `expert ${expert + 1}` : `expert ${expert + 1}: list not read`, left, height)
    left += share
  })
  drawRows(
    context,
    { left, width: width - left, row, heads },
    layer.localByHead,
    layer.local.length,
    colour('near-strong'),
    colour('track'),
  )
  context.fillStyle = colour('muted')
  context.fillText('local window', left, height)
}

interface Area {
  readonly left: number
  readonly width: number
  readonly row: number
  readonly heads: number
}

function drawRows(
  context: CanvasRenderingContext2D,
  { left, width, row, heads }: Area,
  weights: Float32Array | null,
  columns: number,
  ink: string,
  track: string,
): void {
  for (let head = 0; head < heads; head++) {
    context.globalAlpha = 1
    context.fillStyle = track
    context.fillRect(left, head * row, width, row - 2)
    if (!weights) continue
    const values = weights.subarray(head * columns, (head + 1) * columns)
    const most = Math.max(...values)
    context.fillStyle = ink
    values.forEach((weight, i) => {
      context.globalAlpha = Math.sqrt(weight / most)
      context.fillRect(left + (i / columns) * width, head * row, Math.max(width / columns, 1), row - 2)
    })
  }
  context.globalAlpha = 1
}
