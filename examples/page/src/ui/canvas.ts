/** A canvas that is as sharp as the screen and is drawn again when its size or the colour scheme changes. */
export class Drawing {
  readonly canvas: HTMLCanvasElement
  readonly #draw: (context: CanvasRenderingContext2D, width: number, height: number, colour: (name: string) => string) => void
  #isDue = false
  #width = 0
  #height = 0

  constructor(
    className: string,
    label: string,
    draw: (context: CanvasRenderingContext2D, width: number, height: number, colour: (name: string) => string) => void,
  ) {
    this.#draw = draw
    this.canvas = document.createElement('canvas')
    this.canvas.className = className
    this.canvas.setAttribute('role', 'img')
    this.canvas.setAttribute('aria-label', label)
    new ResizeObserver(([entry]) => {
      this.#width = entry!.contentRect.width
      this.#height = entry!.contentRect.height
      this.redraw()
    }).observe(this.canvas)
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.redraw())
    this.#watchRatio()
  }

  /** The page may be zoomed, or moved to another screen. */
  #watchRatio(): void {
    const changed = (): void => {
      this.#watchRatio()
      this.redraw()
    }
    matchMedia(`(resolution: ${devicePixelRatio}dppx)`).addEventListener('change', changed, { once: true })
  }

  set label(text: string) {
    if (this.canvas.getAttribute('aria-label') !== text) this.canvas.setAttribute('aria-label', text)
  }

  /** Draws in the next frame, if the canvas can be seen then. */
  redraw(): void {
    if (this.#isDue) return
    this.#isDue = true
    requestAnimationFrame(() => {
      this.#isDue = false
      if (this.#width === 0 || this.#height === 0) return
      const ratio = devicePixelRatio
      const [width, height] = [Math.round(this.#width * ratio), Math.round(this.#height * ratio)]
      if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height })
      const context = this.canvas.getContext('2d')!
      context.setTransform(ratio, 0, 0, ratio, 0, 0)
      context.clearRect(0, 0, this.#width, this.#height)
      const style = getComputedStyle(this.canvas)
      this.#draw(context, this.#width, this.#height, (name) => style.getPropertyValue(`--${name}`).trim())
    })
  }
}
