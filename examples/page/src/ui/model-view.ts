import type { ModelFacts, Source } from '../protocol.js'
import { h } from './dom.js'
import { count } from './format.js'
import { layersInWords } from './words.js'

/** What the model and the browser are, and how to open another model. */
export class ModelView {
  readonly #facts = h('dl', { class: 'facts' })
  readonly #facilities = h('tbody')
  readonly #notes = h('p', { class: 'notes', hidden: true })
  readonly #bytes = h('input', { type: 'checkbox', id: 'model-bytes' })
  readonly #onOpen: (source: Source, bytes: boolean) => void

  constructor(panel: HTMLElement, onOpen: (source: Source, bytes: boolean) => void) {
    this.#onOpen = onOpen
    panel.append(
      h(
        'div',
        { class: 'cards' },
        h('section', { class: 'card' }, h('h2', {}, 'This model'), this.#facts, this.#notes),
        h(
          'section',
          { class: 'card' },
          h('h2', {}, 'This browser'),
          h('p', { class: 'hint' }, 'What it offers, what of it is used, and what is missing.'),
          h(
            'table',
            {},
            h('thead', {}, h('tr', {}, ...['What', 'Used', 'What is missing'].map((name) => h('th', { scope: 'col' }, name)))),
            this.#facilities,
          ),
        ),
        this.#own(),
      ),
    )
  }

  show(facts: ModelFacts): void {
    const {
      name,
      parameters,
      depth,
      heads,
      experts,
      held,
      localWindow,
      routedWindow,
      routedLayers,
      vocabulary,
      maxPositions,
      quantized,
      causal,
    } = facts
    const rows: [string, string][] = [
      ['Name', name],
      ['Parameters', `${(parameters / 1e6).toFixed(1)} million${quantized ? ', in 8 bits each' : ''}`],
      ['Layers', `${depth}, with ${heads} heads each`],
      ['With experts', routedLayers.length === depth ? 'all layers' : layersInWords(routedLayers)],
      ['Experts', `${experts} in each of these layers, holding ${count(held)} tokens at most`],
      ['Local window', `${count(localWindow)} tokens`],
      ['Held tokens', `every ${count(routedWindow)} tokens the list is updated: better tokens come in, the weakest leave for good`],
      ['Longest text', maxPositions === null ? 'of any length' : `${count(maxPositions)} tokens`],
      ['Vocabulary', `${count(vocabulary)} tokens`],
      ['Routing', causal ? 'causal: decided without later text' : 'published: later tokens change what earlier ones read'],
    ]
    this.#facts.replaceChildren(...rows.flatMap(([term, text]) => [h('dt', {}, term), h('dd', {}, text)]))
    this.#notes.hidden = causal
    this.#notes.textContent =
      'With the published routing every new token means computing all of them again, so long texts are slow, and there is no map of what a token read.'
    this.#facilities.replaceChildren(
      ...facts.facilities.map(({ name, used, reason }) =>
        h('tr', {}, h('th', { scope: 'row' }, name), h('td', {}, used), h('td', { class: 'reason' }, reason || 'nothing')),
      ),
    )
  }

  #own(): HTMLElement {
    const url = h('input', { type: 'url', id: 'model-url', placeholder: 'https://…/my-model/', required: true })
    const files = h('input', { type: 'file', id: 'model-files', multiple: true, on: { change: () => this.#take(files.files) } })
    files.setAttribute('webkitdirectory', '')
    const form = h(
      'form',
      {
        on: {
          submit: (event: Event) => {
            event.preventDefault()
            const href = url.value.endsWith('/') ? url.value : `${url.value}/`
            this.#onOpen({ url: new URL(href, document.baseURI).href }, this.#bytes.checked)
          },
        },
      },
      h('label', { htmlFor: 'model-url' }, 'The address of a folder'),
      h('div', { class: 'field' }, url, h('button', {}, 'Open')),
    )
    const drop = h(
      'div',
      {
        class: 'drop',
        on: {
          dragover: (event) => {
            event.preventDefault()
            drop.classList.add('over')
          },
          dragleave: () => drop.classList.remove('over'),
          drop: (event) => void this.#dropped(event, drop),
        },
      },
      h('label', { htmlFor: 'model-files' }, 'Drop a folder here, or choose one'),
      files,
    )
    return h(
      'section',
      { class: 'card' },
      h('h2', {}, 'Your own model'),
      h(
        'p',
        {},
        'A folder with config.json, model.safetensors and tokenizer.json, of any number of heads, experts and layers. Files that you drop stay on this computer.',
      ),
      drop,
      form,
      h('p', { class: 'check' }, this.#bytes, h('label', { htmlFor: 'model-bytes' }, 'Its tokens are bytes (there is no tokenizer.json)')),
    )
  }

  #take(files: Iterable<File> | null): void {
    const list = [...(files ?? [])]
    if (list.length > 0) this.#onOpen({ files: list }, this.#bytes.checked)
  }

  async #dropped(event: DragEvent, drop: HTMLElement): Promise<void> {
    event.preventDefault()
    drop.classList.remove('over')
    const entries = [...(event.dataTransfer?.items ?? [])].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null)
    const files = await Promise.all(entries.map(filesOf))
    this.#take(files.flat())
  }
}

/** The files of a dropped folder, without those of its subfolders. */
async function filesOf(entry: FileSystemEntry): Promise<File[]> {
  const fileOf = (file: FileSystemFileEntry): Promise<File> => new Promise((resolve, reject) => file.file(resolve, reject))
  if (entry.isFile) return [await fileOf(entry as FileSystemFileEntry)]
  const reader = (entry as FileSystemDirectoryEntry).createReader()
  const files: File[] = []
  // a call returns some of the entries, and none when there are no more
  for (;;) {
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject))
    if (entries.length === 0) return files
    files.push(...(await Promise.all(entries.filter(({ isFile }) => isFile).map((file) => fileOf(file as FileSystemFileEntry)))))
  }
}
