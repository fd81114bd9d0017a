import { type Engine, EngineError } from '../client.js'
import type { ModelFacts } from '../protocol.js'
import { announce, h } from './dom.js'
import { parameters } from './format.js'

/** Tokens of a suggestion. */
const TOKENS = 8
/** Milliseconds without a key after which a suggestion is read out. */
const PAUSE = 800
/** Suggestions whose times make up the median. */
const TIMED = 50

const START =
  'The inn stood at the end of the village, where the road goes down to the sea. Nobody had lived there since the winter, and the '

/** An editor in which the model completes in grey what is typed. */
export class CompleteView {
  readonly #engine: Engine
  readonly #input = h('textarea', {
    id: 'complete-text',
    class: 'editor-input',
    value: START,
    spellcheck: false,
    attributes: { 'aria-label': 'Your text', 'aria-describedby': 'complete-help', autocapitalize: 'off', autocomplete: 'off' },
  })
  readonly #mirror = h('div', { class: 'editor-mirror', attributes: { 'aria-hidden': 'true' } })
  readonly #accept = h('button', { type: 'button', disabled: true }, 'Accept (Tab)')
  readonly #status = h('p', { class: 'status' })
  readonly #typed = h('span')
  readonly #ghost = h('span', { class: 'ghost' })
  readonly #note = h('p', { class: 'hint editor-note' }, 'The model is being loaded.')
  #suggestion = ''
  #isOpen = false
  #current: AbortController | undefined
  #timer = 0
  #times: number[] = []

  constructor(panel: HTMLElement, engine: Engine) {
    this.#engine = engine
    this.#mirror.append(this.#typed, this.#ghost)
    this.#input.addEventListener('input', () => void this.#suggest())
    this.#input.addEventListener('keydown', (event) => this.#key(event))
    this.#input.addEventListener('scroll', () => (this.#mirror.scrollTop = this.#input.scrollTop))
    document.addEventListener('selectionchange', () => {
      if (document.activeElement === this.#input && !this.#isAtEnd()) this.#show('')
    })
    this.#accept.addEventListener('click', () => {
      this.#input.focus()
      this.#take()
    })
    panel.append(
      h(
        'div',
        { class: 'sheet narrow' },
        h(
          'div',
          { class: 'bar-top' },
          h(
            'p',
            { id: 'complete-help', class: 'hint' },
            'Type: the model’s suggestion appears in grey. ',
            h('kbd', {}, 'Tab'),
            ' accepts, ',
            h('kbd', {}, 'Esc'),
            ' refuses.',
          ),
          this.#accept,
          this.#status,
        ),
        h('div', { class: 'editor' }, this.#mirror, this.#input),
        this.#note,
      ),
    )
    this.#mirrorText()
  }

  /** Opens a model. */
  open(facts: ModelFacts): void {
    this.#isOpen = true
    const slow = facts.causal
      ? ''
      : ' With this model’s routing the whole text is computed again for each token, so suggestions take longer in a long text.'
    this.#note.textContent = `This is what a model of ${parameters(facts.parameters)} in a page is good for: it guesses the next few words in a blink, and what you type stays on this computer.${slow}`
    this.#times = []
    this.#show('')
  }

  /** Suggests nothing more, and waits until the worker has stopped. */
  async stop(): Promise<void> {
    this.#isOpen = false
    this.#current?.abort()
    this.#show('')
    await this.#engine.settled('suggest')
  }

  /** Suggests at once when the tab is opened. */
  enter(): void {
    this.#input.focus({ preventScroll: true })
    this.#input.setSelectionRange(this.#input.value.length, this.#input.value.length)
    void this.#suggest()
  }

  async #suggest(): Promise<void> {
    this.#current?.abort()
    this.#keepIfTyped()
    this.#mirrorText()
    const text = this.#input.value
    if (!this.#isOpen || text === '' || !this.#isAtEnd()) return
    const controller = new AbortController()
    this.#current = controller
    const begin = performance.now()
    try {
      const { completion } = await this.#engine.call('suggest', { text, tokens: TOKENS }, { signal: controller.signal })
      if (controller.signal.aborted || this.#input.value !== text) return
      this.#time(performance.now() - begin)
      this.#show(completion)
    } catch (error) {
      if (error instanceof EngineError && error.aborted) return
      this.#status.textContent = (error as Error).message
      announce((error as Error).message)
    }
  }

  /** What was typed may be the suggestion's beginning: the rest stays until there is a new one. */
  #keepIfTyped(): void {
    const typed = this.#input.value.slice(this.#typed.textContent.length)
    const goesOn = this.#input.value.startsWith(this.#typed.textContent) && typed !== '' && this.#suggestion.startsWith(typed)
    this.#show(goesOn ? this.#suggestion.slice(typed.length) : '')
  }

  #show(suggestion: string): void {
    this.#suggestion = suggestion
    this.#ghost.textContent = suggestion
    this.#accept.disabled = suggestion === ''
    clearTimeout(this.#timer)
    if (suggestion !== '') this.#timer = window.setTimeout(() => announce(`Suggestion: ${suggestion}`), PAUSE)
  }

  #key(event: KeyboardEvent): void {
    if (this.#suggestion === '' || event.isComposing) return
    if (event.key === 'Tab' && !event.shiftKey) {
      event.preventDefault()
      this.#take()
    } else if (event.key === 'Escape') {
      event.preventDefault()
      this.#current?.abort()
      this.#show('')
    }
  }

  #take(): void {
    const text = this.#suggestion
    if (text === '') return
    this.#show('')
    const end = this.#input.value.length
    this.#input.setSelectionRange(end, end)
    // execCommand keeps the browser's undo; it fires `input` itself
    if (!document.execCommand('insertText', false, text)) {
      this.#input.setRangeText(text, end, end, 'end')
      this.#input.dispatchEvent(new Event('input'))
    }
  }

  #mirrorText(): void {
    this.#typed.textContent = this.#input.value
    this.#mirror.scrollTop = this.#input.scrollTop
  }

  #isAtEnd(): boolean {
    const { selectionStart, selectionEnd, value } = this.#input
    return selectionStart === value.length && selectionEnd === value.length
  }

  #time(milliseconds: number): void {
    this.#times = [...this.#times.slice(1 - TIMED), milliseconds]
    const sorted = [...this.#times].sort((a, b) => a - b)
    const median = sorted[Math.floor(sorted.length / 2)]!
    const among = sorted.length < 3 ? '' : `; median ${median.toFixed(0)} ms of the last ${sorted.length}`
    this.#status.textContent = `This suggestion of ${TOKENS} tokens took ${milliseconds.toFixed(0)} ms${among}`
  }
}
