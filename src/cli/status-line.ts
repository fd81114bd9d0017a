import { escapeUnprintable } from './terminal-text.js'

/** The part of a stream that a status line needs. */
interface StatusScreen {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

/** Milliseconds before a line first appears, so that quick work stays silent, and between updates. */
const DELAY = 500
const INTERVAL = 100

/** One line that is updated in place on a terminal; elsewhere nothing is written. */
export class StatusLine {
  readonly #screen: StatusScreen
  readonly #now: () => number
  #begin: number | undefined
  #next = 0
  #isShown = false

  /** @param now monotonic clock in milliseconds */
  constructor(screen: StatusScreen, now: () => number = () => performance.now()) {
    this.#screen = screen
    this.#now = now
  }

  /** Replaces the text; it is only computed if shown. */
  show(text: () => string): void {
    if (!this.#screen.isTTY) return
    const now = this.#now()
    this.#begin ??= now
    if (now < this.#begin + DELAY || now < this.#next) return
    this.#next = now + INTERVAL
    this.#isShown = true
    this.#screen.write(`\r\x1b[K${escapeUnprintable(text()).slice(0, (this.#screen.columns || 80) - 1)}`)
  }

  /** Removes the line; the next text starts a new one. */
  clear(): void {
    if (this.#isShown) this.#screen.write('\r\x1b[K')
    this.#isShown = false
    this.#begin = undefined
    this.#next = 0
  }
}
