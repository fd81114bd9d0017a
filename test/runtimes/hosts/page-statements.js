/**
 * Uses the page of examples/page, in which it runs, as a visitor does, and posts what it found. The address has what is
 * expected: `id`, whether the page must become isolated and work offline, and two other origins with models, of which
 * one lets this page read them.
 */
import { report } from './report.js'

const config = JSON.parse(decodeURIComponent(new URL(import.meta.url).search.slice(1)))
const query = (/** @type {string} */ selector) => document.querySelector(selector)
const all = (/** @type {string} */ selector) => [...document.querySelectorAll(selector)]

/** Seconds after which something counts as never to come, on a machine that is busy or stalls, too. */
const PATIENCE = 180

/** Waits until something holds. @param {string} what @param {() => unknown} holds */
async function until(what, holds) {
  const end = performance.now() + 1000 * PATIENCE
  for (;;) {
    const found = holds()
    if (found) return found
    if (performance.now() > end) throw new Error(`${what}: not within ${PATIENCE} s; the page says "${query('#load-status')?.textContent}"`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

function expect(/** @type {unknown} */ holds, /** @type {string} */ what) {
  if (!holds) throw new Error(what)
}

const key = (/** @type {Element} */ element, /** @type {string} */ name) =>
  element.dispatchEvent(new KeyboardEvent('keydown', { key: name, bubbles: true, cancelable: true }))
const button = (/** @type {string} */ panel, /** @type {string} */ name) =>
  all(`#panel-${panel} button`).find(({ textContent }) => textContent === name)
/** What the page says when the model is open that a visitor opens so, or when it is not. @param {() => void} open */
async function opened(open) {
  query('#loading').dataset.state = 'asked'
  open()
  await until('an answer', () => /ready|failed/.test(query('#loading').dataset.state))
  return query('#load-status').textContent
}

/** Files of a small model that the runner made. @param {string} name */
function ownFiles(name) {
  const files = ['config.json', 'model.safetensors']
  return Promise.all(files.map(async (file) => new File([await (await fetch(`${config.others[0]}/${name}/${file}`)).arrayBuffer()], file)))
}

/** A folder as it is dropped: browsers let scripts make no such thing. @param {string} name @param {File[]} files */
function folder(name, files) {
  const entry = (/** @type {File} */ file) => ({
    isFile: true,
    isDirectory: false,
    name: file.name,
    file: (/** @type {any} */ take) => take(file),
  })
  const sub = { isFile: false, isDirectory: true, name: 'sub' }
  const batches = [files.slice(0, 1).map(entry), [...files.slice(1).map(entry), sub], []]
  const createReader = () => ({ readEntries: (/** @type {any} */ take) => take(batches.shift()) })
  return { isFile: false, isDirectory: true, name, createReader }
}

function drop(/** @type {unknown} */ entry) {
  const items = [{ kind: 'file', webkitGetAsEntry: () => entry, getAsFile: () => null }]
  const event = Object.assign(new Event('drop', { bubbles: true, cancelable: true }), { dataTransfer: { items, types: ['Files'] } })
  query('.drop').dispatchEvent(event)
}

/** All that was announced; each of it stands for a while only. @type {string[]} */
const said = []
new MutationObserver(() => {
  const { textContent } = query('#announcer')
  if (textContent) said.push(textContent)
}).observe(query('#announcer'), { childList: true })

/**
 * Lets the worker hear calls of a name later, as if it were busy.
 * @param {string} name @param {number} milliseconds @param {() => Promise<void>} work
 */
async function delayed(name, milliseconds, work) {
  const { postMessage } = Worker.prototype
  Worker.prototype.postMessage = function (/** @type {any[]} */ ...message) {
    if (message[0].name === name) setTimeout(() => postMessage.apply(this, message), milliseconds)
    else postMessage.apply(this, message)
  }
  await work().finally(() => (Worker.prototype.postMessage = postMessage))
}

const idle = () => until('the text ends', () => button('write', 'Stop').disabled && !button('write', 'Continue').disabled)

const statements = {
  async 'text is written without a click, and curves show what it read'() {
    await until('text', () => query('#panel-write .new'))
    await until('curves', () => query('#panel-write .arc'))
    await idle()
    expect(/^\d+ tokens, \d/.test(query('#panel-write .status').textContent), 'no tokens a second are shown')
    expect(/each expert holds 128 of them/.test(query('.strip-caption').textContent), query('.strip-caption').textContent)
  },
  async 'the arrow keys look at a token, Enter goes to its alternatives, and one of them goes on from there'() {
    const text = query('#panel-write .text')
    text.focus()
    const before = said.length
    for (let i = 0; i < 5; i++) key(text, 'ArrowLeft')
    await until('alternatives', () => query('#panel-write .choices button'))
    await until('what was read', () => /Expert 1/.test(query('#panel-write .layer-words').textContent))
    expect(said.length > before, 'nothing was announced')
    key(text, 'Enter')
    expect(document.activeElement.matches('.choices button'), 'Enter does not go to the alternatives')
    const place = all('#panel-write .tokens span').length - 5
    const chosen = document.activeElement.querySelector('.choice-text').textContent
    const replaced = all('#panel-write .tokens span')[place]
    document.activeElement.click()
    await until('more text', () => !replaced.isConnected && all('#panel-write .tokens span').length > place + 3)
    expect(all('#panel-write .tokens span')[place].textContent.trim() === chosen.replace('(space)', ''), 'another token was put there')
    button('write', 'Stop').click()
    await idle()
  },
  async 'moving the sliders shows how the alternatives are drawn, and which never are'() {
    const text = query('#panel-write .text')
    text.focus()
    for (let i = 0; i < 3; i++) key(text, 'ArrowLeft')
    const drawn = () => all('#panel-write .choices .choice-drawn').map(({ textContent }) => textContent)
    const move = (/** @type {string} */ name, /** @type {number} */ value) => {
      query(`#sampling-${name}`).valueAsNumber = value
      query(`#sampling-${name}`).dispatchEvent(new Event('input', { bubbles: true }))
    }
    await until('alternatives', () => drawn().length === 9 && drawn().every((figure) => figure !== ''))
    const height = query('#panel-write .inspector-full').scrollHeight
    const before = said.length
    await delayed('drawn', 1500, async () => {
      move('temperature', 0)
      await until(
        'the likeliest token alone',
        () =>
          drawn()[0] === '100\u00A0%' &&
          drawn()
            .slice(1)
            .every((figure) => figure === 'never'),
      )
      expect(all('#panel-write .choices .never-drawn').length === 8, 'what is never drawn is not marked')
      // of a worker that takes longer than what it answers is waited for
      const drawnWith = await until('what is drawn is said', () => said.slice(before).find((text) => /is drawn with/.test(text)))
      expect(/is drawn with 100/.test(drawnWith), drawnWith)
    })
    move('temperature', 1)
    move('topP', 1)
    const model = () => all('#panel-write .choices .choice-probability').map(({ textContent }) => textContent)
    await until('what the model gives', () => drawn().join() === model().join())
    move('topK', 2)
    await until('two tokens', () => drawn().filter((figure) => figure !== 'never').length === 2)
    expect(query('#panel-write .inspector-full').scrollHeight === height, 'the inspector has changed its height')
    for (const [name, value] of [['temperature', 0.8], ['topP', 0.95], ['topK', 0]]) move(String(name), Number(value)) // prettier-ignore
  },
  async 'what is typed is completed, Tab accepts, Escape refuses'() {
    query('#tab-complete').click()
    const input = query('.editor-input')
    await until('a suggestion', () => query('.ghost').textContent)
    const before = input.value
    const suggested = query('.ghost').textContent
    key(input, 'Tab')
    expect(input.value === before + suggested, `Tab gave "${input.value.slice(before.length)}" for "${suggested}"`)
    await until('the next suggestion', () => query('.ghost').textContent)
    key(input, 'Escape')
    expect(query('.ghost').textContent === '', 'Escape leaves the suggestion')
  },
  async 'a dropped file is read to its end, each token with its bits'() {
    query('#tab-read').click()
    const chapter = 'The captain put down his glass and looked at the map again.\n\n'.repeat(20)
    const text = `Chapter 1\n\n${chapter}`.repeat(6)
    const dataTransfer = new DataTransfer()
    dataTransfer.items.add(new File([text], 'text.txt'))
    query('#panel-read').dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }))
    await until('the end', () => query('.numbers progress').value === 1 && button('read', 'Stop').disabled)
    expect(/ bits a token$/.test(query('.numbers .status').textContent), query('.numbers .status').textContent)
    // they are drawn in a frame after the numbers
    await until('six chapters', () => all('.chapters tbody tr').length === 6)
    await until('the text', () => query('#panel-read .tokens').textContent.length > 500)
    const shown = query('#panel-read .tokens').textContent
    expect(text.startsWith(shown), `the page shows "${shown.slice(0, 80)}"`)
    key(query('.curve'), 'End')
    await until('the last page', () => query('#panel-read .tokens').textContent.endsWith('again.\n\n'))
  },
  async 'a dropped folder of a model of bytes is opened, written with and looked at; no byte is lost in it'() {
    query('#tab-model').click()
    const files = await ownFiles('own-causal')
    const refused = await opened(() => drop(folder('own-causal', files)))
    expect(/tokens are bytes, say so/.test(refused), refused)
    query('#model-bytes').click()
    const found = await opened(() => drop(folder('own-causal', files)))
    expect(/^own-causal: 20,616 parameters/.test(found), found)
    await idle()
    expect(/each expert holds 11 of them/.test(query('.strip-caption').textContent), query('.strip-caption').textContent)
    expect(query('#panel-write .tokens .lone'), 'no byte stands alone, though the model writes at random')
    const text = query('#panel-write .text')
    query('#tab-write').click()
    key(text, 'ArrowLeft')
    await until('what was read', () => all('#panel-write .layer-words .expert').length === 4)
    expect(!query('main').textContent.includes('\uFFFD'), 'a byte is shown as U+FFFD')
  },
  async 'files without a folder are opened, too; published routing begins with a short text, and says why it is slow'() {
    const dataTransfer = new DataTransfer()
    for (const file of await ownFiles('own-published')) dataTransfer.items.add(file)
    const event = new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true })
    const found = await opened(() => query('#panel-model').dispatchEvent(event))
    expect(/^your files: 15,728 parameters/.test(found), found)
    await idle()
    expect(all('#panel-write .tokens span').length < 200, 'the opening is long')
    expect(!query('#panel-write .note').hidden && query('#panel-write .strip').hidden, 'no word on what differs')
    query('#tab-read').click()
    const read = new DataTransfer()
    read.items.add(new File(['The captain looked at the map again.\n'.repeat(60)], 'text.txt'))
    query('#panel-read').dispatchEvent(new DragEvent('drop', { dataTransfer: read, bubbles: true, cancelable: true }))
    await until('the end', () => /^2,220 tokens/.test(query('.numbers .status').textContent) && button('read', 'Stop').disabled)
  },
  async 'what cannot be opened is told in words, and what was open stays'() {
    query('#tab-model').click()
    const [config, weights] = await ownFiles('own-causal')
    const cases = [
      [folder('cut', [config, new File([weights.slice(0, 5000)], weights.name)]), /A file of this model is broken/],
      [folder('none', [new File(['x'], 'notes.txt')]), /not a whole model/],
      [folder('other', [new File(['{"model_type": "gpt2"}'], config.name), weights]), /another kind of model/],
    ]
    for (const [dropped, words] of cases) {
      const told = await opened(() => drop(dropped))
      expect(words.test(told) && told.endsWith('“your files” stays open.'), told)
      expect(words.test(query('#model-problem').textContent), query('#model-problem').textContent)
    }
    expect(!button('write', 'Write').disabled, 'the model that was open is not')
  },
  async 'a model of another origin is opened if its host lets pages read it; if not, it is said what the host must send'() {
    const [open, closed] = config.others
    const go = (/** @type {string} */ address) => {
      query('#model-url').value = address
      return opened(() => query('#model-url').form.requestSubmit())
    }
    const refused = await go(`${closed}/own-causal`)
    expect(/Access-Control-Allow-Origin: \*/.test(refused), refused)
    const found = await go(`${open}/own-causal`)
    expect(/^own-causal: 20,616 parameters/.test(found), found)
    expect(query('#model-problem').hidden, 'the problem is still there')
  },
  async 'it says what the browser offers, and computes on threads if it is isolated'() {
    query('#tab-model').click()
    const threads = all('#panel-model tbody tr').find(({ textContent }) => textContent.startsWith('Threads'))
    expect(crossOriginIsolated, 'the page is not isolated')
    if (navigator.hardwareConcurrency > 1) expect(!/used: 1 of/.test(threads.textContent), threads.textContent)
  },
}

async function run() {
  const results = []
  for (const [name, statement] of Object.entries(statements))
    results.push(await statement().then(() => ({ name }), (error) => ({ name, error: String(error?.stack ?? error) }))) // prettier-ignore
  return results
}

const STORED = 'page-statements'
const earlier = sessionStorage.getItem(STORED)
if (earlier !== null) {
  // the page was loaded again, from a host that no longer answers
  await report(config, async () => [
    ...JSON.parse(earlier),
    await until('text', () => query('#panel-write .new')).then(
      () => ({ name: 'it works offline' }),
      (error) => ({ name: 'it works offline', error: String(error) }),
    ),
  ])
} else if (crossOriginIsolated) {
  const results = await run()
  if (config.offline) {
    sessionStorage.setItem(STORED, JSON.stringify(results))
    await navigator.serviceWorker.ready
    await fetch('/offline', { method: 'POST', body: '' })
    location.reload()
  } else await report(config, async () => results)
} else setTimeout(() => void report(config, run), 1000 * PATIENCE) // it should have been loaded again by then
