import type { Engine } from '../client.js'
import { announce, h, oncePerFrame } from '../ui/dom.js'
import type { Versions } from './contenders.js'
import { CopyButtons } from './copy-buttons.js'
import { environmentOf } from './environment.js'
import { type Environment, environmentInWords, type Measurement } from './figures.js'
import { MeasurementTable } from './measurement-table.js'
import { MARGIN, plotOf } from './plot.js'
import { runBench, type Settings } from './run.js'

const INSTALL = 'node bench/install.mjs'

/** Pixels of a plot: on a phone as wide as the screen, so that its letters keep their size. */
const WIDEST = 760
const NARROWEST = 320

const QUICK = { lengths: [1024], positions: [256], rounds: 3, decoded: 8, seconds: 0.1 }
const FULL = { lengths: [1024, 4096], positions: [256, 2048], rounds: 9, decoded: 32, seconds: 0.5 }

/** The tab that measures the layer and the model against others, in this browser. */
export class BenchView {
  readonly #engine: Engine
  readonly #extent = h(
    'select',
    { id: 'bench-extent' },
    h('option', {}, 'Quick: the shortest inputs, 3 rounds'),
    h('option', {}, 'Full: longer ones too, 9 rounds'),
  )
  readonly #threads = h('select', { id: 'bench-threads' }, ...threadCounts().map((threads) => h('option', {}, String(threads))))
  readonly #run = h('button', { class: 'primary', type: 'button' }, 'Run')
  readonly #stop = h('button', { type: 'button', disabled: true }, 'Stop')
  // what is announced is the beginning and the end: this changes many times a second
  readonly #status = h('p', { class: 'status' })
  readonly #progress = h('progress', { max: 1, value: 0, attributes: { 'aria-label': 'How much is measured' } })
  readonly #missing = h('p', { class: 'bench-missing', hidden: true })
  readonly #tables = h('div', { class: 'bench-tables' })
  readonly #figure = h('figure', { class: 'bench-figure', hidden: true })
  readonly #source = h('p', { class: 'hint' })
  readonly #buttons: CopyButtons
  readonly #draw = oncePerFrame(() => this.#show())
  #shown = new Map<string, MeasurementTable>()
  #measurements: readonly Measurement[] = []
  #environment: Environment | undefined
  #running: AbortController | undefined

  constructor(panel: HTMLElement, engine: Engine) {
    this.#engine = engine
    this.#buttons = new CopyButtons(() => {
      const environment = this.#environment!
      const plot = plotOf(this.#measurements, environmentInWords(environment), WIDEST)
      return { measurements: this.#measurements, environment, plot }
    })
    this.#run.addEventListener('click', () => void this.#start())
    this.#stop.addEventListener('click', () => this.#running?.abort())
    const bar = h(
      'div',
      { class: 'bar-top' },
      ...[h('label', { htmlFor: 'bench-extent' }, 'Measure'), this.#extent],
      ...[h('label', { htmlFor: 'bench-threads' }, 'Threads'), this.#threads],
      h('div', { class: 'buttons' }, this.#run, this.#stop),
      this.#status,
    )
    const results = h('div', { class: 'bench-results' }, this.#tables, this.#figure, this.#source, this.#buttons.element)
    panel.append(h('div', { class: 'sheet bench' }, bar, this.#progress, explanation(), this.#missing, results))
    new ResizeObserver(() => this.#draw()).observe(this.#tables)
  }

  /** Says what is missing, when the tab is opened and before a run. @returns undefined if the server does not answer */
  async look(): Promise<Versions | undefined> {
    const response = await fetch(new URL('./bench/versions.json', document.baseURI)).catch(() => undefined)
    const versions = response?.ok ? ((await response.json()) as Versions) : undefined
    const missing = Object.entries(versions ?? {}).filter(([, version]) => version === null)
    this.#missing.hidden = versions !== undefined && missing.length === 0
    if (versions) {
      const names = missing.map(([name]) => name).join(' and ')
      const command = h('code', {}, INSTALL)
      this.#missing.replaceChildren(
        `${names} ${missing.length === 1 ? 'is' : 'are'} not installed. `,
        command,
        ' installs what is missing.',
      )
    } else this.#missing.textContent = 'The bench needs the development server (npm run page), which does not answer.'
    return versions
  }

  async #start(): Promise<void> {
    const controller = new AbortController()
    const { signal } = controller
    this.#running = controller
    this.#setRunning(true)
    this.#status.textContent = 'Waiting for the page’s own model to come to rest…'
    announce('The bench has begun.')
    let end = 'The bench has ended.'
    try {
      const versions = await this.look()
      if (!versions) throw new Error('the development server does not answer')
      await Promise.race([this.#engine.settled('load', 'write', 'branch', 'read', 'suggest', 'look', 'held'), aborted(signal)])
      const settings = this.#settings
      this.#environment = await environmentOf(settings.threads, versions)
      this.#measurements = []
      this.#shown.clear()
      this.#tables.replaceChildren()
      await runBench({
        ...{ settings, versions, install: INSTALL, signal },
        onProgress: (what, share) => {
          this.#status.textContent = what
          this.#progress.value = share
        },
        onFigures: (measurements) => {
          this.#measurements = measurements
          this.#draw()
        },
      })
      this.#progress.value = 1
    } catch (error) {
      end = signal.aborted ? 'The bench was stopped.' : `The bench has failed: ${(error as Error).message}`
    } finally {
      this.#running = undefined
      this.#setRunning(false)
      this.#status.textContent = end
      this.#draw()
      announce(end)
    }
  }

  get #settings(): Settings {
    return { ...(this.#extent.selectedIndex === 0 ? QUICK : FULL), threads: Number(this.#threads.value) }
  }

  #setRunning(isRunning: boolean): void {
    this.#run.disabled = this.#extent.disabled = this.#threads.disabled = isRunning
    this.#stop.disabled = !isRunning
    this.#buttons.setEnabled(!isRunning && this.#measurements.length > 0)
  }

  #show(): void {
    const width = this.#tables.getBoundingClientRect().width + 2 * MARGIN
    if (!this.#environment || this.#measurements.length === 0 || width <= 2 * MARGIN) return
    for (const measurement of this.#measurements) {
      const { title } = measurement
      if (!this.#shown.has(title)) {
        const table = new MeasurementTable(title)
        this.#shown.set(title, table)
        this.#tables.append(table.element)
      }
      this.#shown.get(title)!.show(measurement)
    }
    this.#figure.hidden = false
    this.#figure.replaceChildren(plotOf(this.#measurements, '', Math.min(Math.max(Math.floor(width), NARROWEST), WIDEST)))
    this.#source.textContent = `${environmentInWords(this.#environment)}.`
  }
}

function explanation(): HTMLElement {
  return h(
    'div',
    { class: 'bench-explanation hint' },
    h(
      'p',
      {},
      'The layer: the same weights and input in onnxruntime-web, which runs the published layer as ONNX in WebAssembly, on as many threads. ',
      'The model: novels-10m beside another of its size in wllama, of random weights, that sees a sliding window of 128 tokens and nothing before them. ',
      'They work in turn, round after round, each in a worker of its own. “Ours is” says how many times as fast ours of the same precision is (int8 beside Q8_0): the median of the rounds’ own ratios.',
    ),
    h('p', {}, 'What else this computer does changes the figures, and so do other tabs of this page: leave them alone meanwhile.'),
  )
}

/** One, two, four and so on, and all: more than one only where the browser lets threads share memory. */
function threadCounts(): number[] {
  const cores = crossOriginIsolated ? navigator.hardwareConcurrency : 1
  const counts = []
  for (let threads = 1; threads < cores; threads *= 2) counts.push(threads)
  return [...counts, cores]
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
}
