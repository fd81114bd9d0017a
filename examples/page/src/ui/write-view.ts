import { type Engine, EngineError } from '../client.js'
import type { Calls, Choice, ModelFacts, WritingRate } from '../protocol.js'
import { announce, h } from './dom.js'
import { count } from './format.js'
import { Inspector } from './inspector.js'
import { Looker } from './looker.js'
import { OPENINGS } from './openings.js'
import { SamplingControls } from './sampling-controls.js'
import { HeldStrip } from './strip.js'
import { TokenText } from './token-text.js'

/** Milliseconds that the pointer rests on a token before it is looked at. */
const REST = 60

/** The tab in which the model writes. */
export class WriteView {
  readonly #engine: Engine
  readonly #prompt = h('textarea', { id: 'prompt', rows: 3, spellcheck: false, attributes: { 'aria-label': 'Beginning of the text' } })
  readonly #openings: HTMLSelectElement
  readonly #write = h('button', { class: 'primary', type: 'button', disabled: true }, 'Write')
  readonly #stop = h('button', { type: 'button', disabled: true }, 'Stop')
  readonly #continue = h('button', { type: 'button', disabled: true }, 'Continue')
  readonly #copy = h('button', { type: 'button', disabled: true }, 'Copy')
  readonly #status = h('p', { class: 'status', attributes: { role: 'status' } })
  readonly #sampling = new SamplingControls()
  readonly #strip = new HeldStrip()
  readonly #text: TokenText
  readonly #inspector: Inspector
  readonly #looker: Looker
  #texts: string[] = []
  #facts: ModelFacts | undefined
  #writing: AbortController | undefined
  #timer = 0

  constructor(panel: HTMLElement, engine: Engine) {
    this.#engine = engine
    this.#looker = new Looker(engine, 'writing')
    this.#openings = h(
      'select',
      { id: 'opening', on: { change: () => void this.#chooseOpening() } },
      ...OPENINGS.map(({ name }) => h('option', {}, name)),
    )
    this.#text = new TokenText('The text', {
      onLook: (position, isPinned) => this.#rest(position, isPinned),
      onLeave: () => this.#leave(),
      onOpen: () => this.#inspector.focusChoices(),
    })
    this.#inspector = new Inspector({
      onBranch: (position, choice) => void this.#branch(position, choice),
      onLayer: () => this.#paint(),
      onGoTo: (position) => this.#goTo(position),
    })
    this.#write.addEventListener('click', () => void this.#begin())
    this.#continue.addEventListener('click', () => void this.#goOn())
    this.#stop.addEventListener('click', () => this.#writing?.abort())
    this.#copy.addEventListener('click', () => void this.#copyText())
    this.#prompt.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void this.#begin()
    })
    panel.append(
      h(
        'div',
        { class: 'columns' },
        h(
          'div',
          { class: 'sheet' },
          h(
            'div',
            { class: 'bar-top' },
            h('label', { htmlFor: 'opening' }, 'Begin with'),
            this.#openings,
            h('div', { class: 'buttons' }, this.#write, this.#stop, this.#continue, this.#copy),
            this.#status,
          ),
          this.#strip.element,
          this.#text.element,
          h('details', { class: 'prompt' }, h('summary', {}, 'Another beginning'), this.#prompt),
          this.#sampling.element,
        ),
        this.#inspector.element,
      ),
    )
  }

  /** Opens a model: it writes at once, so that there is something to see. */
  async open(facts: ModelFacts): Promise<void> {
    this.#writing?.abort()
    this.#facts = facts
    this.#inspector.open(facts, (position) => this.#texts[position] ?? '')
    if (this.#prompt.value === '') await this.#chooseOpening()
    else await this.#begin()
  }

  async #chooseOpening(): Promise<void> {
    const { file, text } = OPENINGS[this.#openings.selectedIndex]!
    this.#prompt.value = text ?? (await fetch(new URL(file!, document.baseURI)).then((response) => response.text()))
    if (this.#facts) await this.#begin()
  }

  async #begin(): Promise<void> {
    if (!this.#facts || this.#prompt.value === '') return
    const { localWindow, experts, routedLayers } = this.#facts
    await this.#stopped()
    this.#texts = []
    this.#looker.forget()
    this.#text.clear()
    this.#strip.clear(localWindow, experts * routedLayers.length)
    await this.#run(
      (options) => this.#engine.call('write', { prompt: this.#prompt.value, sampling: this.#sampling.settings }, options),
      true,
    )
  }

  async #goOn(): Promise<void> {
    await this.#run((options) => this.#engine.call('write', { prompt: null, sampling: this.#sampling.settings }, options), false)
  }

  async #branch(position: number, { id, text }: Choice): Promise<void> {
    await this.#stopped()
    this.#looker.forget(position)
    this.#text.truncate(position)
    this.#texts.length = position
    announce(`Going on with “${text.trim()}”.`)
    this.#text.element.focus()
    await this.#run((options) => this.#engine.call('branch', { position, id, sampling: this.#sampling.settings }, options), false)
  }

  async #run(
    call: (options: { signal: AbortSignal; onEvent: (event: Calls['write']['event']) => void }) => Promise<WritingRate>,
    startsWithPrompt: boolean,
  ): Promise<void> {
    const controller = new AbortController()
    this.#writing = controller
    this.#setWriting(true)
    let isPrompt = startsWithPrompt
    try {
      const onEvent = (event: Calls['write']['event']): void => {
        if (this.#writing !== controller) return
        if ('tokens' in event) this.#add(event.tokens.start, event.tokens, isPrompt)
        else if ('held' in event) this.#strip.held = event.held
        else {
          isPrompt = false
          this.#showRate(event.rate)
        }
      }
      const rate = await call({ signal: controller.signal, onEvent })
      announce(`${count(rate.tokens)} tokens written.`)
    } catch (error) {
      if (!(error instanceof EngineError && error.aborted)) this.#status.textContent = (error as Error).message
    } finally {
      if (this.#writing === controller) {
        this.#writing = undefined
        this.#setWriting(false)
      }
    }
  }

  #add(start: number, batch: Parameters<TokenText['add']>[0], isPrompt: boolean): void {
    batch.texts.forEach((text, index) => (this.#texts[start + index] = text))
    this.#text.add(batch, isPrompt)
    this.#strip.length = this.#texts.length
  }

  async #stopped(): Promise<void> {
    const writing = this.#writing
    this.#writing = undefined
    writing?.abort()
    // the worker answers calls in order: once this one is answered, the writing has ended
    if (writing) await this.#engine.call('tokens', { text: 'writing', start: 0, end: 0 }).catch(() => {})
  }

  #setWriting(isWriting: boolean): void {
    this.#write.disabled = isWriting
    this.#stop.disabled = !isWriting
    this.#continue.disabled = isWriting || this.#texts.length === 0
    this.#copy.disabled = this.#texts.length === 0
  }

  #showRate({ tokens, seconds }: WritingRate): void {
    if (seconds > 0) this.#status.textContent = `${count(tokens)} tokens, ${count(Math.round(tokens / seconds))} a second`
  }

  async #copyText(): Promise<void> {
    await navigator.clipboard.writeText(this.#texts.join(''))
    this.#status.textContent = 'Copied.'
  }

  #rest(position: number, isPinned: boolean): void {
    clearTimeout(this.#timer)
    this.#timer = window.setTimeout(() => void this.#lookAt(position, isPinned), isPinned ? 0 : REST)
  }

  async #lookAt(position: number, isPinned: boolean): Promise<void> {
    try {
      const look = await this.#looker.look(position, this.#texts.length)
      if (!look || this.#text.current !== position) return
      this.#inspector.show(look, isPinned)
      this.#paint()
    } catch (error) {
      this.#status.textContent = (error as Error).message
    }
  }

  #paint(): void {
    const { look, plots } = this.#inspector
    if (!look) return
    this.#text.paint(look, plots.chosen)
    this.#strip.look(look, plots.chosen)
  }

  #leave(): void {
    clearTimeout(this.#timer)
    this.#looker.cancel()
    this.#inspector.show(undefined, false)
    this.#strip.look(undefined, 0)
  }

  #goTo(position: number): void {
    this.#text.scrollTo(position)
    this.#text.select(position, true)
    this.#text.element.focus({ preventScroll: true })
  }
}
