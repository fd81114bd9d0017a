import type { Source } from '../protocol.js'
import { announce, h } from './dom.js'
import { filesIn, ofOneFolder } from './folders.js'
import type { Problem } from './problems.js'

/** Opens a visitor's own model: a folder that is dropped or chosen, or one at an address. */
export class OwnModel {
  readonly element: HTMLElement
  readonly #bytes = h('input', { type: 'checkbox', id: 'model-bytes' })
  readonly #problem = h('div', { class: 'problem', id: 'model-problem', hidden: true })
  readonly #onOpen: (source: Source, bytes: boolean) => void
  readonly #drop: HTMLElement

  /** @param panel takes what is dropped anywhere in it */
  constructor(panel: HTMLElement, onOpen: (source: Source, bytes: boolean) => void) {
    this.#onOpen = onOpen
    const files = h('input', {
      type: 'file',
      id: 'model-files',
      multiple: true,
      on: { change: () => this.#take(ofOneFolder([...(files.files ?? [])])) },
    })
    files.setAttribute('webkitdirectory', '')
    this.#drop = h('div', { class: 'drop' }, h('label', { htmlFor: 'model-files' }, 'Drop a folder here, or choose one'), files)
    this.element = h(
      'section',
      { class: 'card' },
      h('h2', {}, 'Your own model'),
      h(
        'p',
        {},
        'A folder with config.json, model.safetensors and tokenizer.json, of any number of heads, experts and layers. Files that you drop stay on this computer.',
      ),
      this.#drop,
      this.#form(),
      h('p', { class: 'check' }, this.#bytes, h('label', { htmlFor: 'model-bytes' }, 'Its tokens are bytes (there is no tokenizer.json)')),
      this.#problem,
    )
    panel.addEventListener('dragover', (event) => {
      event.preventDefault()
      this.#drop.classList.add('over')
    })
    panel.addEventListener('dragleave', () => this.#drop.classList.remove('over'))
    panel.addEventListener('drop', (event) => void this.#dropped(event))
  }

  /** Says why a model could not be opened; the line at the top, which is read out, says it too. */
  fail(problem: Problem | undefined): void {
    this.#problem.hidden = problem === undefined
    if (!problem) return this.#problem.replaceChildren()
    const { what, advice, detail } = problem
    this.#problem.replaceChildren(h('p', {}, h('strong', {}, what), ` ${advice}`), h('p', { class: 'reason' }, detail))
  }

  #form(): HTMLElement {
    const url = h('input', { type: 'url', id: 'model-url', placeholder: 'https://…/my-model/', required: true })
    const open = (event: Event): void => {
      event.preventDefault()
      const address = new URL(url.value, document.baseURI)
      if (!address.pathname.endsWith('/')) address.pathname += '/'
      this.#onOpen({ url: address.href }, this.#bytes.checked)
    }
    return h(
      'form',
      { on: { submit: open } },
      h('label', { htmlFor: 'model-url' }, 'The address of a folder'),
      h('div', { class: 'field' }, url, h('button', {}, 'Open')),
      h('p', { class: 'hint' }, 'A host other than this page’s must send “Access-Control-Allow-Origin: *”.'),
    )
  }

  #say(problem: Problem): void {
    this.fail(problem)
    announce(`${problem.what} ${problem.advice}`)
  }

  #take({ files, name }: { files: readonly File[]; name: string }): void {
    if (files.length > 0) this.#onOpen({ files, name }, this.#bytes.checked)
    else this.#say({ what: 'There are no files in it.', advice: 'Drop the folder in which config.json lies.', detail: '' })
  }

  async #dropped(event: DragEvent): Promise<void> {
    event.preventDefault()
    this.#drop.classList.remove('over')
    try {
      this.#take(await filesIn(event.dataTransfer))
    } catch (error) {
      const detail = (error as Error).message
      this.#say({ what: 'The browser could not read what was dropped.', advice: 'Choose the folder with the button instead.', detail })
    }
  }
}
