import { escapeUnprintable } from './terminal-text.js'

/** The part of a stream that a status line needs. */
interface Screen {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

/** Milliseconds before a line first shows, so that what is quick stays silent, and between two changes of it. */
const DELAY = 500
const INTERVAL = 100

/** One line that changes in place, on a terminal; anywhere else nothing is written. */
export class StatusLine {
  readonly #screen: Screen
  readonly #now: () => number
  #begin: number | undefined
  #next = 0
  #isShown = false

  /** @param now milliseconds on a clock that never goes back */
  constructor(screen: Screen, now: () => number = () => performance.now()) {
    this.#screen = screen
    this.#now = now
  }

  /** Shows a text in place of the last; what it costs to make is spent only when it is shown. */
  show(text: () => string): void {
    if (!this.#screen.isTTY) return
    const now = this.#now()
    this.#begin ??= now
    if (now < this.#begin + DELAY || now < this.#next) return
    this.#next = now + INTERVAL
    this.#isShown = true
    this.#screen.write(`\r\x1b[K${escapeUnprintable(text()).slice(0, (this.#screen.columns || 80) - 1)}`)
  }

  /** Takes the line away; the next text begins another. */
  clear(): void {
    if (this.#isShown) this.#screen.write('\r\x1b[K')
    this.#isShown = false
    this.#begin = undefined
    this.#next = 0
  }
}
