import type { Look, TokenBatch } from '../protocol.js'
import { h, oncePerFrame } from './dom.js'
import { drawArcs, type Source } from './arcs.js'
import { tokenElement } from './token-element.js'
import { type Attention, attentionOf, EXPERT_COLOURS } from './attention.js'

/** Curves for one token: more would hide the text. */
const MOST_CURVES = 24

interface Events {
  /** Tokens of the whole text. */
  length(): number
  /** A token is looked at: under the pointer, or reached by the arrow keys. */
  onLook(position: number, isPinned: boolean): void
  /** A token was clicked or tapped, and is now looked at. */
  onTap(): void
  /** Nothing is looked at any more. */
  onLeave(): void
  /** Enter on a token. */
  onOpen(): void
}

/**
 * A text as tokens. The text itself is the map: while one token is looked at, the tokens that it read are coloured.
 * A screen reader sees plain prose; the arrow keys move from token to token.
 */
export class TokenText {
  readonly element: HTMLElement
  readonly #content: HTMLElement
  readonly #arcs: SVGSVGElement
  readonly #events: Events
  #tokens: HTMLElement[] = []
  /** Position of the first token in the document. */
  #start = 0
  #paragraph: HTMLElement | undefined
  #given = 0
  #current = -1
  #isPinned = false
  #painted: HTMLElement[] = []
  #follows = true
  #scrollTop = 0
  #heat = false
  /** The curves that are drawn, to be drawn again when the text scrolls. */
  #curves: { from: HTMLElement; sources: readonly Source[] } | undefined
  /** In the frame, when the text is laid out anyway. */
  readonly #scrollToEnd = oncePerFrame(() => (this.element.scrollTop = this.element.scrollHeight))
  readonly #drawCurves = oncePerFrame(() => {
    if (this.#curves) drawArcs(this.#arcs, this.#curves.from, this.#curves.sources, this.element, this.#events.length())
  })

  constructor(label: string, events: Events) {
    this.#events = events
    this.#arcs = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
    this.#arcs.setAttribute('class', 'arcs')
    this.#arcs.setAttribute('aria-hidden', 'true')
    this.#content = h('div', { class: 'tokens' })
    const help = 'In focus mode, arrow keys move from token to token, Enter opens its alternatives, Escape leaves.'
    this.element = h(
      'div',
      {
        class: 'text',
        tabIndex: 0,
        attributes: { role: 'group', 'aria-label': label, 'aria-description': help },
        on: {
          keydown: (event) => this.#key(event),
          click: (event) => this.#pointed(event, true),
          pointerover: (event) => event.pointerType === 'mouse' && this.#pointed(event, false),
          pointerleave: () => this.#leave(false),
          scroll: () => this.#scrolled(),
        },
      },
      this.#content,
    )
    this.#content.append(this.#arcs)
    // words move when the page is narrower, or its letters larger
    const observer = new ResizeObserver(() => this.#drawCurves())
    observer.observe(this.element)
    observer.observe(this.#content)
  }

  get current(): number {
    return this.#current
  }

  get end(): number {
    return this.#start + this.#tokens.length
  }

  set heat(value: boolean) {
    this.#heat = value
  }

  /** @param given tokens that were not written by the model */
  clear(start = 0, given = 0): void {
    this.#leave(true)
    this.#start = start
    this.#given = given
    this.#tokens = []
    this.#paragraph = undefined
    this.#content.replaceChildren(this.#arcs)
    this.#follows = true
    this.element.scrollTop = 0
  }

  truncate(end: number): void {
    this.#leave(true)
    this.#cut(end)
    this.#given = Math.min(this.#given, end)
  }

  #cut(end: number): void {
    for (const token of this.#tokens.splice(end - this.#start)) {
      if (token.previousSibling instanceof Text) token.previousSibling.remove()
      token.remove()
    }
    const paragraphs = this.#content.querySelectorAll('p')
    for (const paragraph of paragraphs) if (!paragraph.hasChildNodes()) paragraph.remove()
    this.#paragraph = this.#tokens.at(-1)?.parentElement ?? undefined
  }

  /** Of a character that several tokens share, the most surprising one counts. */
  #setHeat(token: HTMLElement, bits: number): void {
    if (!this.#heat) return
    const share = Math.max(heatOf(bits), Number(token.dataset.heat ?? 0))
    token.dataset.heat = String(share)
    token.style.setProperty('--share', `${Math.round(share * 100)}%`)
    token.classList.toggle('hottest', share >= heatOf(SURPRISING))
  }

  /** @param isGiven whether these tokens were given, not written */
  add({ start, texts, bits }: TokenBatch, isGiven: boolean): void {
    if (isGiven) this.#given = start + texts.length
    // bytes that stood alone may have become a character
    if (start < this.end) this.#cut(start)
    texts.forEach((text, index) => {
      const before = this.#tokens.at(-1)
      if (text === null && before) {
        this.#tokens.push(before)
        this.#setHeat(before, bits[index]!)
        return
      }
      const [space, token] = tokenElement(text)
      token.classList.add(this.#heat ? 'hot' : isGiven ? 'given' : 'new')
      this.#setHeat(token, bits[index]!)
      if (!this.#paragraph) {
        this.#paragraph = h('p')
        this.#content.append(this.#paragraph)
      }
      this.#paragraph.append(space, token)
      this.#tokens.push(token)
      if (typeof text === 'string' && text.includes('\n')) this.#paragraph = undefined
    })
    if (this.#follows && !this.#heat) this.#scrollToEnd()
  }

  scrollTo(position: number): void {
    const token = this.#tokens[position - this.#start]
    if (!token) return
    const { top, bottom } = token.getBoundingClientRect()
    const outer = this.element.getBoundingClientRect()
    if (top < outer.top + 24 || bottom > outer.bottom - 24) this.element.scrollTop += top - outer.top - outer.height / 3
  }

  select(position: number, isPinned: boolean): void {
    const token = this.#tokens[position - this.#start]
    if (!token || (position === this.#current && isPinned === this.#isPinned)) return
    this.#unpaint()
    this.#current = position
    this.#isPinned = isPinned
    token.classList.add('looked-at')
    this.#painted.push(token)
    this.#events.onLook(position, isPinned)
  }

  /** Colours what a token read in one layer; of a token that is not looked at, if none is. */
  paint(look: Look, layer: number): void {
    if (this.#current >= 0 && look.position !== this.#current) return
    this.#unpaint()
    const own = this.#tokens[look.position - this.#start]
    own?.classList.add('looked-at')
    if (own) this.#painted.push(own)
    const shown = look.layers[layer]
    if (!shown) return
    const attention = attentionOf(shown)
    for (const { position, expert, weight, share } of attention)
      if (position !== look.position) this.#paintOne(position, expert, weight, share)
    if (!own) return
    this.#curves = { from: own, sources: this.#sourcesOf(attention) }
    this.#drawCurves()
  }

  #paintOne(position: number, expert: number, weight: number, share: number): void {
    const token = this.#tokens[position - this.#start]
    if (!token) return
    if (expert < 0) token.classList.add('local')
    else {
      token.classList.add('held')
      token.style.setProperty('--expert', `var(--expert-${expert % EXPERT_COLOURS})`)
    }
    token.style.setProperty(expert < 0 ? '--near' : '--far', `${Math.round(share * 100)}%`)
    token.title = `${(weight * 100).toFixed(1)} %`
    this.#painted.push(token)
  }

  #sourcesOf(attention: readonly Attention[]): Source[] {
    const far = attention.filter(({ expert, weight }) => expert >= 0 && weight > 0)
    const strongest = far.sort((a, b) => b.weight - a.weight).slice(0, MOST_CURVES)
    return strongest.map(({ position, expert, share }) => ({ position, expert, share, token: this.#tokens[position - this.#start] }))
  }

  #unpaint(): void {
    for (const token of this.#painted) {
      token.classList.remove('looked-at', 'local', 'held')
      for (const property of ['--expert', '--near', '--far']) token.style.removeProperty(property)
      token.removeAttribute('title')
    }
    this.#painted = []
    this.#curves = undefined
    this.#arcs.replaceChildren()
  }

  #pointed(event: Event, isPinned: boolean): void {
    const index = event.target instanceof HTMLElement && event.target.localName === 'span' ? this.#tokens.indexOf(event.target) : -1
    if (index < 0 || (!isPinned && this.#isPinned)) return
    if (isPinned && this.#isPinned && this.#start + index === this.#current) return this.#leave(true)
    this.select(this.#start + index, isPinned)
    if (isPinned) this.#events.onTap()
  }

  #leave(always: boolean): void {
    if (this.#isPinned && !always) return
    const wasLooking = this.#current >= 0
    this.#unpaint()
    this.#current = -1
    this.#isPinned = false
    if (wasLooking) this.#events.onLeave()
  }

  #key(event: KeyboardEvent): void {
    const last = this.end - 1
    const from = this.#current < 0 ? last + 1 : this.#current
    const target = {
      ArrowLeft: from - 1,
      ArrowRight: from + 1,
      Home: event.ctrlKey ? this.#start : undefined,
      End: event.ctrlKey ? last : undefined,
    }[event.key]
    if (target !== undefined && this.#tokens.length > 0) {
      event.preventDefault()
      const position = Math.min(Math.max(target, this.#start), last)
      this.select(position, true)
      this.scrollTo(position)
    } else if (event.key === 'Escape') this.#leave(true)
    else if (event.key === 'Enter' && this.#current >= 0) {
      event.preventDefault()
      this.#events.onOpen()
    }
  }

  /** The text follows what is written until somebody scrolls up. */
  #scrolled(): void {
    const { scrollTop } = this.element
    if (this.#isAtEnd()) this.#follows = true
    else if (scrollTop < this.#scrollTop) this.#follows = false
    this.#scrollTop = scrollTop
    this.#drawCurves()
  }

  #isAtEnd(): boolean {
    return this.element.scrollTop + this.element.clientHeight > this.element.scrollHeight - 40
  }
}

/** Bits from which a token is coloured, is very surprising, and is no more coloured than that. */
const [PLAUSIBLE, SURPRISING, MOST] = [2, 8, 12]

/** From 0 (plausible) to 1. */
function heatOf(bits: number): number {
  return bits > PLAUSIBLE ? Math.min((bits - PLAUSIBLE) / (MOST - PLAUSIBLE), 1) : 0
}
