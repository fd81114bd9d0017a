/**
 * Uses the page of examples/page, in which it runs, as a visitor does, and posts what it found. The address has what is
 * expected: `id`, and whether the page must become isolated and work offline.
 */
import { report } from './report.js'

const config = JSON.parse(decodeURIComponent(new URL(import.meta.url).search.slice(1)))
const query = (/** @type {string} */ selector) => document.querySelector(selector)
const all = (/** @type {string} */ selector) => [...document.querySelectorAll(selector)]

/** Waits until something holds. @param {string} what @param {() => unknown} holds */
async function until(what, holds) {
  const end = performance.now() + 45_000
  for (;;) {
    const found = holds()
    if (found) return found
    if (performance.now() > end) throw new Error(`${what}: not within 45 s; the page says "${query('#load-status')?.textContent}"`)
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
    for (let i = 0; i < 5; i++) key(text, 'ArrowLeft')
    await until('alternatives', () => query('#panel-write .choices button'))
    await until('what was read', () => /Expert 1/.test(query('#panel-write .layer-words').textContent))
    expect(query('#announcer').textContent !== '', 'nothing was announced')
    key(text, 'Enter')
    expect(document.activeElement.matches('.choices button'), 'Enter does not go to the alternatives')
    const before = all('#panel-write .tokens span').length - 5
    const chosen = document.activeElement.querySelector('.choice-text').textContent
    const replaced = all('#panel-write .tokens span')[before]
    document.activeElement.click()
    await until('more text', () => !replaced.isConnected && all('#panel-write .tokens span').length > before + 3)
    expect(all('#panel-write .tokens span')[before].textContent.trim() === chosen.replace('(space)', ''), 'another token was put there')
    button('write', 'Stop').click()
    await idle()
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
    const shown = query('#panel-read .tokens').textContent
    expect(text.startsWith(shown) && shown.length > 500, `the page shows "${shown.slice(0, 80)}"`)
    key(query('.curve'), 'End')
    await until('the last page', () => query('#panel-read .tokens').textContent.endsWith('again.\n\n'))
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
} else setTimeout(() => void report(config, run), 15_000) // it should have been loaded again by then
