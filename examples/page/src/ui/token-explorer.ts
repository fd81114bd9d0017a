import type { Engine } from '../client.js'
import type { Choice, HeldNow, Look, ModelFacts, SamplingSettings, TextName, Piece } from '../protocol.js'
import { announce } from './dom.js'
import { Drawings } from './drawings.js'
import { Inspector } from './inspector.js'
import { Looker } from './looker.js'
import { HeldStrip } from './strip.js'
import { TokenText } from './token-text.js'
import { textLegend } from './words.js'

/** Milliseconds after which it is said what a slider did that was moved: its own value is said first. */
const SAID_AFTER = 800

/** Milliseconds that the pointer rests on a token before it is looked at. */
const REST = 60

interface Options {
  readonly label: string
  readonly textOf: (position: number) => Piece | undefined
  /** Tokens of the whole text. */
  readonly length: () => number
  /** Whether surprising tokens are coloured. */
  readonly heat?: boolean
  readonly onBranch?: (position: number, choice: Choice) => void
  /** With which settings tokens are drawn, where text is written. */
  readonly sampling?: () => SamplingSettings
  /** Brings a token that is not in the document into it. */
  readonly reveal?: (position: number) => Promise<void>
  readonly onError: (message: string) => void
}

/** A text, the strip above it and the inspector beside it, which show the token that is looked at together. */
export class TokenExplorer {
  readonly text: TokenText
  readonly strip = new HeldStrip()
  readonly inspector: Inspector
  /** What the marks in the text mean. */
  readonly legend: HTMLElement
  readonly #routingLegend: HTMLElement
  readonly #looker: Looker
  readonly #drawings: Drawings | undefined
  readonly #options: Options
  #timer = 0
  #redrawings = 0

  constructor(engine: Engine, name: TextName, options: Options) {
    this.#options = options
    this.#looker = new Looker(engine, name)
    const { sampling } = options
    this.#drawings = sampling && new Drawings(engine, sampling, (look, drawn) => this.inspector.showDrawn(look, drawn))
    const { element, routing } = textLegend(options.heat ?? false)
    this.legend = element
    this.#routingLegend = routing
    this.text = new TokenText(options.label, {
      length: options.length,
      onLook: (position, isPinned) => this.#rest(position, isPinned),
      onTap: () => this.#revealInspector(),
      onLeave: () => this.#leave(),
      onOpen: () => this.inspector.focusChoices(),
    })
    this.text.heat = options.heat ?? false
    this.inspector = new Inspector({
      onBranch: options.onBranch,
      onChoose: () => this.#paint(),
      onGoTo: (position) => void this.goTo(position),
    })
  }

  open(facts: ModelFacts): void {
    this.inspector.open(facts, this.#options.textOf)
    this.strip.clear(facts)
    this.#routingLegend.hidden = !facts.causal
    this.forget()
  }

  set held(held: HeldNow) {
    this.strip.held = held
  }

  /** Shows what the newest token read, while nobody looks at another one. */
  follow(look: Look): void {
    if (this.text.current >= 0) return
    const shown = this.inspector.ofHead(look)
    this.text.paint(shown, this.inspector.plots.chosen)
    this.strip.look(shown)
  }

  /** Forgets what may have changed from a position on. */
  forget(from = 0): void {
    this.#looker.forget(from)
    this.#drawings?.cancel()
  }

  /** Shows how the alternatives are drawn with other settings, and says it. */
  async redraw(): Promise<void> {
    const redrawing = ++this.#redrawings
    const pause = new Promise((resolve) => setTimeout(resolve, SAID_AFTER))
    try {
      await this.#drawings?.again()
    } catch (error) {
      return this.#options.onError((error as Error).message)
    }
    await pause
    const { drawnInWords } = this.inspector
    if (drawnInWords && redrawing === this.#redrawings) announce(drawnInWords)
  }

  async goTo(position: number): Promise<void> {
    await this.#options.reveal?.(position)
    this.text.element.scrollIntoView({ block: 'nearest' })
    this.text.scrollTo(position)
    this.text.select(position, true)
    this.text.element.focus({ preventScroll: true })
  }

  #rest(position: number, isPinned: boolean): void {
    clearTimeout(this.#timer)
    this.#timer = window.setTimeout(() => void this.#lookAt(position, isPinned), isPinned ? 0 : REST)
  }

  async #lookAt(position: number, isPinned: boolean): Promise<void> {
    try {
      const look = await this.#looker.look(position, this.#options.length())
      if (!look || this.text.current !== position) return
      this.inspector.show(look, isPinned)
      this.#paint()
      await this.#drawings?.of(look)
    } catch (error) {
      this.#options.onError((error as Error).message)
    }
  }

  #paint(): void {
    const { look, plots } = this.inspector
    if (!look) return
    this.text.paint(look, plots.chosen)
    this.strip.look(look)
  }

  /** On a small screen the inspector lies below the text, and often below the fold. */
  #revealInspector(): void {
    const { element } = this.inspector
    if (element.getBoundingClientRect().top > innerHeight * 0.6) element.scrollIntoView({ block: 'start' })
  }

  #leave(): void {
    clearTimeout(this.#timer)
    this.#looker.cancel()
    this.#drawings?.cancel()
    this.inspector.show(undefined, false)
    this.strip.look(undefined)
  }
}
