import { h } from '../ui/dom.js'
import { copyPlot, download, jsonOf, markdownOf, pngOf, svgText } from './exports.js'
import type { Environment, Measurement } from './figures.js'

interface Results {
  readonly measurements: readonly Measurement[]
  readonly environment: Environment
  readonly plot: SVGSVGElement
}

const FILE = 'routed-attention-bench'

/** Takes the plot and the figures elsewhere: to the clipboard, or into files. */
export class CopyButtons {
  readonly element: HTMLElement
  readonly #buttons: readonly HTMLButtonElement[]
  readonly #status = h('p', { class: 'status', attributes: { role: 'status' } })
  readonly #results: () => Results

  constructor(results: () => Results) {
    this.#results = results
    this.#buttons = [
      this.#button('Copy plot', async ({ plot }) => `The plot is on the clipboard, as ${await copyPlot(plot)}.`),
      this.#button('Save SVG', ({ plot }) => this.#save(new Blob([svgText(plot)], { type: 'image/svg+xml' }), 'svg')),
      this.#button('Save PNG', async ({ plot }) => this.#save(await pngOf(plot), 'png')),
      this.#button('Copy figures as Markdown', ({ measurements, environment }) => this.#copy(markdownOf(measurements, environment))),
      this.#button('Copy figures as JSON', ({ measurements, environment }) => this.#copy(jsonOf(measurements, environment))),
    ]
    this.element = h('div', { class: 'bench-copy' }, h('div', { class: 'buttons' }, ...this.#buttons), this.#status)
  }

  setEnabled(isEnabled: boolean): void {
    for (const button of this.#buttons) button.disabled = !isEnabled
    if (!isEnabled) this.#status.textContent = ''
  }

  /** @param act does it, and says what it did */
  #button(name: string, act: (results: Results) => string | Promise<string>): HTMLButtonElement {
    const click = async (): Promise<void> => {
      try {
        this.#status.textContent = await act(this.#results())
      } catch (error) {
        this.#status.textContent = `That did not work: ${(error as Error).message}`
      }
    }
    return h('button', { type: 'button', disabled: true, on: { click: () => void click() } }, name)
  }

  async #copy(text: string): Promise<string> {
    await navigator.clipboard.writeText(text)
    return 'The figures are on the clipboard.'
  }

  #save(content: Blob, extension: string): string {
    download(content, `${FILE}.${extension}`)
    return `Saved as ${FILE}.${extension}.`
  }
}
