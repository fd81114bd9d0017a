import { type Engine, EngineError } from '../client.js'
import type { Chapter, ModelFacts, ReadingProgress, Piece } from '../protocol.js'
import { ChapterList } from './chapter-list.js'
import { SurpriseCurve } from './curve.js'
import { announce, h, oncePerFrame } from './dom.js'
import { count } from './format.js'
import { wholeText } from './texts.js'
import { TokenExplorer } from './token-explorer.js'
import { publishedReading } from './words.js'

/** Tokens of the text that are in the document at a time. */
const PAGE = 400
/** Milliseconds between two looks at what is held, while reading. */
const HELD_EVERY = 1000
/** The estimate of the whole text's tokens is replaced if it is as far off: the curve would tremble otherwise. */
const ESTIMATE_ERROR = 0.03

/** The tab in which the model reads a file of any size. */
export class ReadView {
  readonly #engine: Engine
  readonly #explorer: TokenExplorer
  readonly #curve = new SurpriseCurve((position) => void this.#reveal(position))
  readonly #chapterList = new ChapterList((position) => void this.#explorer.goTo(position))
  readonly #book = h('button', { class: 'primary', type: 'button', disabled: true }, 'Read Treasure Island')
  readonly #file = h('input', { type: 'file', id: 'read-file', accept: 'text/*,.txt,.md', disabled: true })
  readonly #stop = h('button', { type: 'button', disabled: true }, 'Stop')
  readonly #continue = h('button', { type: 'button', disabled: true }, 'Continue')
  readonly #previous = h('button', { type: 'button', disabled: true, attributes: { 'aria-label': 'Previous page' } }, '←')
  readonly #next = h('button', { type: 'button', disabled: true, attributes: { 'aria-label': 'Next page' } }, '→')
  readonly #place = h('p', { class: 'place' })
  readonly #progress = h('progress', { max: 1, value: 0, attributes: { 'aria-label': 'Read so far' } })
  readonly #status = h(
    'p',
    { class: 'status' },
    'How surprising is each word, and where does a book say something new? Surprise is counted in bits: 1 for an even chance, 10 for one in a thousand.',
  )
  readonly #note = h('p', { class: 'hint note', hidden: true })
  #facts: ModelFacts | undefined
  #chapters: Chapter[] = []
  #length = 0
  /** Tokens of the whole text, estimated from the bytes that were read. */
  #expected = 0
  #texts: readonly Piece[] = []
  #start = 0
  #reading: AbortController | undefined
  #heldAt = 0
  #isDone = false
  readonly #show = oncePerFrame((progress: ReadingProgress) => this.#showNumbers(progress))

  constructor(panel: HTMLElement, engine: Engine) {
    this.#engine = engine
    this.#explorer = new TokenExplorer(engine, 'reading', {
      label: 'A page of the text',
      heat: true,
      textOf: (position) => wholeText(this.#texts, position - this.#start),
      length: () => this.#length,
      reveal: (position) => this.#reveal(position),
      onError: (message) => this.#say(message),
    })
    this.#book.addEventListener('click', () => void this.#readBook())
    this.#file.addEventListener('change', () => this.#file.files?.[0] && void this.#read(this.#file.files[0]))
    this.#stop.addEventListener('click', () => this.#reading?.abort())
    this.#continue.addEventListener('click', () => void this.#run(null))
    this.#previous.addEventListener('click', () => void this.#reveal(this.#start - 1))
    this.#next.addEventListener('click', () => void this.#reveal(this.#start + PAGE))
    panel.addEventListener('dragover', (event) => event.preventDefault())
    panel.addEventListener('drop', (event) => {
      event.preventDefault()
      const file = event.dataTransfer?.files[0]
      if (file) void this.#read(file)
    })
    const { strip, text, legend, inspector } = this.#explorer
    const choose = h('label', { htmlFor: 'read-file' }, 'or drop a text of any size, or choose one:')
    const bar = h('div', { class: 'bar-top' }, this.#book, choose, this.#file, h('div', { class: 'buttons' }, this.#stop, this.#continue))
    const numbers = h('div', { class: 'numbers' }, this.#progress, this.#status)
    const pager = h('div', { class: 'pager' }, this.#previous, this.#place, this.#next)
    const sheet = h('div', { class: 'sheet' }, bar, this.#note, numbers, this.#curve.element, strip.element, text.element, legend, pager)
    panel.append(h('div', { class: 'columns' }, sheet, inspector.element), this.#chapterList.element)
  }

  /** Stops reading, and waits until the worker has. */
  async stop(): Promise<void> {
    const reading = this.#reading
    this.#reading = undefined
    reading?.abort()
    if (reading) await this.#engine.settled('read')
    this.#setReading(false)
  }

  open(facts: ModelFacts): void {
    this.#facts = facts
    this.#note.hidden = facts.causal
    this.#note.textContent = facts.causal ? '' : publishedReading(facts)
    this.#clear()
    this.#setReading(false)
  }

  async #readBook(): Promise<void> {
    const response = await fetch(new URL('./texts/treasure-island.txt', document.baseURI))
    await this.#read(await response.blob())
  }

  async #read(file: Blob): Promise<void> {
    await this.stop()
    this.#clear()
    this.#status.textContent = 'Reading…'
    await this.#run(file)
  }

  #clear(): void {
    this.#chapters = []
    this.#length = this.#start = this.#expected = 0
    this.#texts = []
    this.#isDone = false
    this.#progress.value = 0
    this.#curve.clear()
    this.#chapterList.show([], 0, this.#curve)
    this.#explorer.text.clear()
    if (this.#facts) this.#explorer.open(this.#facts)
  }

  async #run(file: Blob | null): Promise<void> {
    const controller = new AbortController()
    this.#reading = controller
    this.#setReading(true)
    try {
      const onEvent = (progress: ReadingProgress): void => {
        if (this.#reading === controller) this.#take(progress)
      }
      const end = await this.#engine.call('read', { file }, { signal: controller.signal, onEvent })
      if (this.#reading !== controller) return
      this.#take(end)
      this.#isDone = end.bytesDone >= end.bytesTotal
      await this.#showHeld()
      announce(`${count(end.tokens)} tokens read, ${(end.bits / end.tokens).toFixed(2)} bits a token.`)
    } catch (error) {
      // after the numbers, which are drawn in the same frame
      if (!(error instanceof EngineError && error.aborted)) requestAnimationFrame(() => this.#say((error as Error).message))
    } finally {
      if (this.#reading === controller) {
        this.#reading = undefined
        this.#setReading(false)
      }
    }
  }

  #take(progress: ReadingProgress): void {
    const isFirst = this.#length === 0 && progress.tokens > 0
    this.#length = progress.tokens
    this.#chapters.push(...progress.chapters)
    const share = progress.bytesDone / Math.max(progress.bytesTotal, 1)
    const estimate = Math.round(progress.tokens / Math.max(share, 1e-6))
    if (share === 1 || Math.abs(estimate - this.#expected) > ESTIMATE_ERROR * this.#expected) this.#expected = estimate
    this.#curve.add(progress.curve, progress.tokens, this.#expected, this.#chapters)
    this.#explorer.strip.length = progress.tokens
    this.#show(progress)
    if (isFirst || this.#start + this.#texts.length < Math.min(this.#start + PAGE, this.#length)) void this.#reveal(this.#start)
    if (performance.now() - this.#heldAt > HELD_EVERY) void this.#showHeld()
  }

  async #showHeld(): Promise<void> {
    this.#heldAt = performance.now()
    if (this.#facts?.causal) this.#explorer.held = await this.#engine.call('held', { text: 'reading' })
  }

  #showNumbers({ tokens, seconds, bits, bytesDone, bytesTotal }: ReadingProgress): void {
    const share = bytesDone / Math.max(bytesTotal, 1)
    const quarter = Math.floor(share * 4)
    if (quarter > Math.floor(this.#progress.value * 4) && quarter < 4) announce(`${25 * quarter} % read.`)
    this.#progress.value = share
    this.#status.textContent = `${count(tokens)} tokens, ${count(Math.round(tokens / Math.max(seconds, 1e-3)))} a second; ${(bits / Math.max(tokens - 1, 1)).toFixed(2)} bits a token`
    this.#chapterList.show(this.#chapters, tokens, this.#curve)
    this.#showPlace()
  }

  #say(text: string): void {
    this.#status.textContent = text
    announce(text)
  }

  /** Brings the page with a token into the document. */
  async #reveal(position: number): Promise<void> {
    if (this.#length === 0) return
    const within = Math.min(Math.max(position, 0), this.#length - 1)
    const start = within - (within % PAGE)
    const end = Math.min(start + PAGE, this.#length)
    if (start === this.#start && this.#texts.length === end - start) return
    const batch = await this.#engine.call('tokens', { text: 'reading', start, end })
    this.#start = start
    this.#texts = batch.texts
    this.#explorer.text.clear(start)
    this.#explorer.text.add(batch, false)
    this.#showPlace()
  }

  #showPlace(): void {
    const end = this.#start + this.#texts.length
    this.#place.textContent = `tokens ${count(this.#start + 1)} to ${count(end)} of ${count(this.#length)}`
    this.#previous.disabled = this.#start === 0
    this.#next.disabled = end >= this.#length
    this.#curve.show(this.#start, end)
  }

  #setReading(isReading: boolean): void {
    this.#book.disabled = this.#file.disabled = isReading || !this.#facts
    this.#stop.disabled = !isReading
    this.#continue.disabled = isReading || this.#length === 0 || this.#isDone
  }
}
