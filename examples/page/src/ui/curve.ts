import type { Chapter } from '../protocol.js'
import { Drawing } from './canvas.js'
import { h } from './dom.js'
import { count } from './format.js'
import { peakOf } from './passages.js'

/** Tokens of a point, as the worker's reader has them. */
export const CURVE_STEP = 64

/** Surprise over the whole text, as a curve; it is also how one moves in the text. */
export class SurpriseCurve {
  readonly element: HTMLElement
  readonly #drawing: Drawing
  readonly #onGoTo: (position: number) => void
  #points = new Float32Array(256)
  #count = 0
  #length = 0
  /** Tokens of the whole text, estimated while it is being read. */
  #expected = 0
  #chapters: readonly Chapter[] = []
  #shown: [start: number, end: number] = [0, 0]

  constructor(onGoTo: (position: number) => void) {
    this.#onGoTo = onGoTo
    this.#drawing = new Drawing('curve-canvas', '', (context, width, height, colour) => this.#draw(context, width, height, colour))
    this.#drawing.canvas.removeAttribute('role')
    this.#drawing.canvas.removeAttribute('aria-label')
    this.#drawing.canvas.setAttribute('aria-hidden', 'true')
    this.element = h(
      'div',
      {
        class: 'curve',
        tabIndex: 0,
        attributes: { role: 'slider', 'aria-label': 'Place in the text', 'aria-valuemin': '0', 'aria-valuemax': '0', 'aria-valuenow': '0' },
        on: {
          keydown: (event) => this.#key(event),
          pointerdown: (event) => this.#drag(event),
          pointermove: (event) => event.buttons > 0 && this.#drag(event),
        },
      },
      this.#drawing.canvas,
    )
  }

  clear(): void {
    this.#count = this.#length = this.#expected = 0
    this.#chapters = []
    this.#drawing.redraw()
  }

  /** @param expected tokens of the whole text, as far as that can be known */
  add(points: Float32Array, length: number, expected: number, chapters: readonly Chapter[]): void {
    const total = this.#count + points.length
    if (total > this.#points.length) {
      const larger = new Float32Array(total * 2)
      larger.set(this.#points.subarray(0, this.#count))
      this.#points = larger
    }
    this.#points.set(points, this.#count)
    this.#count = total
    this.#length = length
    this.#expected = Math.max(expected, length)
    this.#chapters = chapters
    this.element.setAttribute('aria-valuemax', String(length))
    this.#drawing.redraw()
  }

  show(start: number, end: number): void {
    this.#shown = [start, end]
    this.element.setAttribute('aria-valuenow', String(start))
    const chapter = this.#chapters.filter((one) => one.start <= start).at(-1)
    this.element.setAttribute('aria-valuetext', `token ${count(start + 1)} of ${count(this.#length)}${chapter ? `, ${chapter.title}` : ''}`)
    this.#drawing.redraw()
  }

  /** The most surprising passage of a part. */
  peak(start: number, end: number): ReturnType<typeof peakOf> {
    return peakOf(this.#points.subarray(0, this.#count), CURVE_STEP, start, end)
  }

  #drag(event: PointerEvent): void {
    const { left, width } = this.element.getBoundingClientRect()
    const position = Math.round(((event.clientX - left) / width) * this.#expected)
    if (this.#length > 0) this.#onGoTo(Math.min(Math.max(position, 0), this.#length - 1))
  }

  #key(event: KeyboardEvent): void {
    const [start, end] = this.#shown
    const page = Math.max(end - start, 1)
    const target = {
      ...{ ArrowRight: start + page, ArrowUp: start + page, ArrowLeft: start - page, ArrowDown: start - page },
      ...{ PageDown: start + 10 * page, PageUp: start - 10 * page, Home: 0, End: this.#length - 1 },
    }[event.key]
    if (target === undefined || this.#length === 0) return
    event.preventDefault()
    this.#onGoTo(Math.min(Math.max(target, 0), this.#length - 1))
  }

  #draw(context: CanvasRenderingContext2D, width: number, height: number, colour: (name: string) => string): void {
    const bottom = height - 14
    context.fillStyle = colour('track')
    context.fillRect(0, bottom, width, 1)
    if (this.#count === 0) return
    const columns = Math.max(1, Math.floor(width))
    const points = Math.max(this.#expected / CURVE_STEP, 1)
    const means = new Float32Array(columns).fill(NaN)
    const peaks = new Float32Array(columns)
    for (let column = 0; column < columns; column++) {
      const from = Math.floor((column / columns) * points)
      const to = Math.min(Math.max(Math.ceil(((column + 1) / columns) * points), from + 1), this.#count)
      if (from >= this.#count) break
      let sum = 0
      for (let i = from; i < to; i++) {
        sum += this.#points[i]!
        peaks[column] = Math.max(peaks[column]!, this.#points[i]!)
      }
      means[column] = sum / (to - from)
    }
    const seen = means.filter((mean) => mean > 0)
    const low = Math.floor(Math.min(...seen) * 0.9)
    const high = Math.ceil(Math.max(...peaks))
    const y = (bits: number): number => bottom - ((Math.max(bits, low) - low) / Math.max(high - low, 1)) * (bottom - 4)
    // one path each: thousands of rectangles take the compositor as many steps
    const drawn = means.findLastIndex((mean) => mean >= 0) + 1
    const area = new Path2D()
    const line = new Path2D()
    area.moveTo(0, bottom)
    for (let column = 0; column < drawn; column++) {
      area.lineTo(column, y(peaks[column]!))
      area.lineTo(column + 1, y(peaks[column]!))
      line.lineTo(column + 0.5, y(means[column]!))
    }
    area.lineTo(drawn, bottom)
    context.fillStyle = context.strokeStyle = colour('heat')
    context.globalAlpha = 0.28
    context.fill(area)
    context.globalAlpha = 1
    context.lineWidth = 1.5
    context.stroke(line)
    context.fillStyle = colour('muted')
    context.font = `10px ${colour('sans')}`
    context.textBaseline = 'bottom'
    context.fillText(
      `surprise: ${low} to ${high} bits a token (mean of ${CURVE_STEP})${this.#chapters.length > 0 ? '; ticks: chapters' : ''}`,
      0,
      height,
    )
    context.textAlign = 'right'
    context.fillText('end of the text', width, height)
    context.textAlign = 'left'
    const x = (position: number): number => (position / this.#expected) * width
    context.fillStyle = colour('muted')
    for (const { start } of this.#chapters) context.fillRect(x(start), bottom, 1, 4)
    const [start, end] = this.#shown
    context.strokeStyle = colour('ink')
    context.lineWidth = 1.5
    context.strokeRect(x(start) + 0.5, 1, Math.max(x(end) - x(start), 4), bottom)
  }
}
