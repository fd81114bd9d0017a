import { type Engine, EngineError } from '../client.js'
import type { Choice, ModelFacts, TokenBatch, Piece, WriteEvent, WritingRate } from '../protocol.js'
import { announce, h } from './dom.js'
import { count, visible } from './format.js'
import { plainText, wholeText } from './texts.js'
import { OPENINGS, SHORT } from './openings.js'
import { SamplingControls } from './sampling-controls.js'
import { TokenExplorer } from './token-explorer.js'
import { publishedWriting } from './words.js'

/** Tokens at a time, and with routing where each is a pass over all before it. */
const TOKENS = 400
const TOKENS_AT_A_PASS_EACH = 100
const SPOKEN_TOKENS = 30

type WriteOptions = { signal: AbortSignal; onEvent: (event: WriteEvent) => void }

/** The tab in which the model writes. */
export class WriteView {
  readonly #engine: Engine
  readonly #explorer: TokenExplorer
  readonly #sampling = new SamplingControls(() => void this.#explorer.redraw())
  readonly #prompt = h('textarea', { id: 'prompt', rows: 6, spellcheck: false, attributes: { 'aria-label': 'Beginning of the text' } })
  readonly #openings = h('select', { id: 'opening' }, ...OPENINGS.map(({ name }) => h('option', {}, name)))
  readonly #write = h('button', { class: 'primary', type: 'button', disabled: true }, 'Write')
  readonly #stop = h('button', { type: 'button', disabled: true }, 'Stop')
  readonly #continue = h('button', { type: 'button', disabled: true }, 'Continue')
  readonly #copy = h('button', { type: 'button', disabled: true }, 'Copy')
  readonly #status = h('p', { class: 'status' })
  readonly #note = h('p', { class: 'hint note', hidden: true }, publishedWriting)
  #texts: Piece[] = []
  #chosen = 0
  #isOwnPrompt = false
  #facts: ModelFacts | undefined
  #writing: AbortController | undefined

  constructor(panel: HTMLElement, engine: Engine) {
    this.#engine = engine
    this.#explorer = new TokenExplorer(engine, 'writing', {
      label: 'The text',
      textOf: (position) => wholeText(this.#texts, position),
      length: () => this.#texts.length,
      onBranch: (position, choice) => void this.#branch(position, choice),
      sampling: () => this.#sampling.settings,
      onError: (message) => this.#say(message),
    })
    this.#openings.addEventListener('change', () => {
      this.#chosen = this.#openings.selectedIndex
      this.#isOwnPrompt = false
      void this.#chooseOpening()
    })
    this.#prompt.addEventListener('input', () => (this.#isOwnPrompt = true))
    this.#write.addEventListener('click', () => void this.#begin())
    this.#continue.addEventListener('click', () => void this.#goOn())
    this.#stop.addEventListener('click', () => this.#writing?.abort())
    this.#copy.addEventListener('click', () => void this.#copyText())
    this.#prompt.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void this.#begin()
    })
    const { strip, text, legend, inspector } = this.#explorer
    const buttons = h('div', { class: 'buttons' }, this.#write, this.#stop, this.#continue, this.#copy)
    const prompt = h('details', { class: 'prompt' }, h('summary', {}, 'Another beginning'), this.#prompt)
    const bar = h('div', { class: 'bar-top' }, h('label', { htmlFor: 'opening' }, 'Begin with'), this.#openings, buttons, this.#status)
    const sheet = h('div', { class: 'sheet' }, bar, this.#note, strip.element, text.element, legend, prompt, this.#sampling.element)
    panel.append(h('div', { class: 'columns' }, sheet, inspector.element))
  }

  /** Opens a model: it writes at once, so that there is something to see. */
  async open(facts: ModelFacts): Promise<void> {
    await this.stop()
    this.#facts = facts
    this.#texts = []
    this.#setWriting(false)
    this.#explorer.text.clear()
    this.#explorer.open(facts)
    this.#note.hidden = facts.causal
    this.#sampling.set('maxTokens', facts.causal ? TOKENS : TOKENS_AT_A_PASS_EACH)
    if (this.#isOwnPrompt) return this.#begin()
    this.#openings.selectedIndex = facts.causal ? this.#chosen : SHORT
    await this.#chooseOpening()
  }

  /** Stops writing, and waits until the worker has. */
  async stop(): Promise<void> {
    const writing = this.#writing
    this.#writing = undefined
    writing?.abort()
    if (writing) await this.#engine.settled('write', 'branch')
    this.#setWriting(false)
  }

  async #chooseOpening(): Promise<void> {
    const { file, text } = OPENINGS[this.#openings.selectedIndex]!
    this.#prompt.value = text ?? (await fetch(new URL(file!, document.baseURI)).then((response) => response.text()))
    if (this.#facts) await this.#begin()
  }

  async #begin(): Promise<void> {
    if (!this.#facts || this.#prompt.value === '') return
    await this.stop()
    this.#texts = []
    this.#explorer.text.clear()
    this.#explorer.open(this.#facts)
    await this.#run(
      (options) => this.#engine.call('write', { prompt: this.#prompt.value, sampling: this.#sampling.settings }, options),
      true,
    )
  }

  async #goOn(): Promise<void> {
    await this.#run((options) => this.#engine.call('write', { prompt: null, sampling: this.#sampling.settings }, options), false)
  }

  async #branch(position: number, { id, text }: Choice): Promise<void> {
    await this.stop()
    this.#explorer.text.truncate(position)
    this.#explorer.forget(position)
    this.#texts.length = position
    announce(`Going on with “${visible(text)}”.`)
    this.#explorer.text.element.focus()
    await this.#run((options) => this.#engine.call('branch', { position, id, sampling: this.#sampling.settings }, options), false)
  }

  async #run(call: (options: WriteOptions) => Promise<WritingRate>, startsWithPrompt: boolean): Promise<void> {
    const controller = new AbortController()
    this.#writing = controller
    this.#setWriting(true)
    this.#status.textContent = startsWithPrompt ? 'Reading the beginning…' : ''
    let isPrompt = startsWithPrompt
    let begin = this.#texts.length
    const onEvent = (event: WriteEvent): void => {
      if (this.#writing !== controller) return
      if ('tokens' in event) this.#add(event.tokens, isPrompt)
      else if ('held' in event) this.#explorer.held = event.held
      else if ('look' in event) this.#explorer.follow(event.look)
      else {
        if (isPrompt) begin = this.#texts.length
        isPrompt = false
        this.#showRate(event.rate)
      }
    }
    try {
      const rate = await call({ signal: controller.signal, onEvent })
      announce(`${count(rate.tokens)} tokens written. ${this.#beginning(begin)}`)
    } catch (error) {
      if (!(error instanceof EngineError && error.aborted)) this.#say((error as Error).message)
    } finally {
      if (this.#writing === controller) {
        this.#writing = undefined
        this.#setWriting(false)
      }
    }
  }

  #add(batch: TokenBatch, isPrompt: boolean): void {
    batch.texts.forEach((text, index) => (this.#texts[batch.start + index] = text))
    this.#explorer.text.add(batch, isPrompt)
    this.#explorer.strip.length = this.#texts.length
  }

  #setWriting(isWriting: boolean): void {
    this.#write.disabled = isWriting || !this.#facts
    this.#stop.disabled = !isWriting
    this.#continue.disabled = isWriting || this.#texts.length === 0
    this.#copy.disabled = this.#texts.length === 0
  }

  #showRate({ tokens, seconds }: WritingRate): void {
    if (seconds > 0) this.#status.textContent = `${count(tokens)} tokens, ${count(Math.round(tokens / seconds))} a second`
  }

  async #copyText(): Promise<void> {
    await navigator.clipboard.writeText(plainText(this.#texts))
    this.#say('Copied.')
  }

  #say(text: string): void {
    this.#status.textContent = text
    announce(text)
  }

  /** Of what was written, to be read out: the rest is in the text. */
  #beginning(position: number): string {
    const written = plainText(this.#texts.slice(position, position + SPOKEN_TOKENS)).trim()
    return written === '' ? '' : `They begin: ${written}…`
  }
}
