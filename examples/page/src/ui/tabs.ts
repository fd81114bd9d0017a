/** The tabs: arrow keys move between them, and the address remembers which is open. */
export class Tabs {
  readonly #tabs: HTMLButtonElement[]
  readonly #listeners: ((name: string) => void)[] = []

  constructor(list: HTMLElement) {
    this.#tabs = [...list.querySelectorAll<HTMLButtonElement>('[role=tab]')]
    for (const tab of this.#tabs) tab.addEventListener('click', () => this.open(nameOf(tab)))
    list.addEventListener('keydown', (event) => this.#move(event))
  }

  get current(): string {
    return nameOf(this.#tabs.find((tab) => tab.ariaSelected === 'true')!)
  }

  onOpen(listener: (name: string) => void): void {
    this.#listeners.push(listener)
  }

  open(name: string): void {
    if (!this.#tabs.some((tab) => nameOf(tab) === name)) return
    for (const tab of this.#tabs) {
      const isOpen = nameOf(tab) === name
      tab.setAttribute('aria-selected', String(isOpen))
      tab.tabIndex = isOpen ? 0 : -1
      document.getElementById(tab.getAttribute('aria-controls')!)!.hidden = !isOpen
    }
    history.replaceState(null, '', `#${name}`)
    for (const listener of this.#listeners) listener(name)
  }

  #move(event: KeyboardEvent): void {
    const index = this.#tabs.indexOf(event.target as HTMLButtonElement)
    const last = this.#tabs.length - 1
    const next = { ArrowRight: index === last ? 0 : index + 1, ArrowLeft: index === 0 ? last : index - 1, Home: 0, End: last }[event.key]
    if (index < 0 || next === undefined) return
    event.preventDefault()
    this.#tabs[next]!.focus()
    this.open(nameOf(this.#tabs[next]!))
  }
}

function nameOf(tab: HTMLElement): string {
  return tab.id.replace('tab-', '')
}
