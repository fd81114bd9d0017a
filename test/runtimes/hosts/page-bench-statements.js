/**
 * Uses the bench tab of the page's development build, in which it runs, as a visitor does, and posts what it found. The
 * address has what is expected: `id`, and whether the rivals are installed.
 */
import { report } from './report.js'

const config = JSON.parse(decodeURIComponent(new URL(import.meta.url).search.slice(1)))
const query = (/** @type {string} */ selector) => document.querySelector(selector)
const all = (/** @type {string} */ selector) => [...document.querySelectorAll(selector)]

/** Waits until something holds. @param {string} what @param {() => unknown} holds */
async function until(what, holds, seconds = 240) {
  const end = performance.now() + seconds * 1000
  for (;;) {
    const found = holds()
    if (found) return found
    if (performance.now() > end) throw new Error(`${what}: not within ${seconds} s; the tab says "${status()}"`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

function expect(/** @type {unknown} */ holds, /** @type {string} */ what) {
  if (!holds) throw new Error(what)
}

const status = () => query('#panel-bench .status')?.textContent
const button = (/** @type {string} */ name) => all('#panel-bench button').find(({ textContent }) => textContent === name)

/** What the page puts on the clipboard, which a browser without a screen may refuse. */
const copied = { /** @type {Record<string, Blob>} */ items: {}, text: '' }
Object.defineProperty(navigator, 'clipboard', {
  value: {
    async write([item]) {
      copied.items = Object.fromEntries(await Promise.all(item.types.map(async (type) => [type, await item.getType(type)])))
    },
    async writeText(text) {
      copied.text = text
    },
  },
})

/** Text of cells, by program, of each table. */
const tables = () =>
  new Map(
    all('#panel-bench table').map((table) => [
      table.getAttribute('aria-label'),
      new Map([...table.tBodies[0].rows].map(({ cells }) => [cells[0].textContent, [...cells].slice(1).map((cell) => cell.textContent)])),
    ]),
  )

const PROGRAMS = {
  'The layer, 1,024 tokens': ['ours', 'onnxruntime-web'],
  ...Object.fromEntries(
    ['Reading a prompt of 256 tokens', 'Decoding behind 256 tokens'].map((title) => [
      title,
      ['ours, float32', 'ours, float16', 'ours, int8', 'wllama, float32', 'wllama, Q8_0'],
    ]),
  ),
}
const isRival = (/** @type {string} */ name) => !name.startsWith('ours')
const number = (/** @type {string} */ text) => Number(text.replaceAll(',', '').replace('x', ''))

const statements = {
  async 'a run can be stopped, and begun again'() {
    query('#tab-bench').click()
    button('Run').click()
    await until('the run begins', () => /ours/.test(status()))
    expect(button('Run').disabled && !button('Stop').disabled, 'it can be begun twice, or not be stopped')
    button('Stop').click()
    await until('the end', () => status() === 'The bench was stopped.')
    expect(!button('Run').disabled && button('Stop').disabled, 'it cannot be begun again')
  },
  async 'it says whether rivals are missing, and how to install them'() {
    const notice = query('.bench-missing')
    expect(notice.hidden === config.hasRivals, notice.textContent)
    if (!config.hasRivals)
      expect(
        /^onnxruntime-web and @wllama\/wllama are not installed\. node bench\/install\.mjs /.test(notice.textContent),
        notice.textContent,
      )
  },
  async 'every program has figures, or says what is missing'() {
    button('Run').click()
    await until('the end', () => /^The bench (has|was)/.test(status()) && !button('Run').disabled)
    expect(status() === 'The bench has ended.', status())
    const found = tables()
    expect([...found.keys()].join() === Object.keys(PROGRAMS).join(), `tables: ${[...found.keys()].join('; ')}`)
    for (const [title, names] of Object.entries(PROGRAMS)) {
      const rows = found.get(title)
      expect([...rows.keys()].join() === names.join(), `${title} has ${[...rows.keys()].join('; ')}`)
      for (const [name, cells] of rows) {
        const told = `${title}, ${name}: ${cells.join(' | ')}`
        if (isRival(name) && !config.hasRivals) expect(cells[0] === 'not installed: node bench/install.mjs', told)
        else {
          const [tokens, ratio, spread, milliseconds] = cells
          expect(
            [tokens, milliseconds, ...spread.split(' – ')].every((text) => number(text) > 0),
            told,
          )
          expect(isRival(name) ? number(ratio) > 0 : ratio === '–', told)
        }
      }
    }
    if (config.hasRivals)
      expect(/^Both compute the same: /.test(query('#panel-bench .bench-tables .hint').textContent), 'outputs do not agree')
  },
  async 'the plot is an image, and is copied as one'() {
    button('Copy plot').click()
    await until('the plot', () => /^The plot is on the clipboard/.test(query('.bench-copy .status').textContent), 240)
    const text = await copied.items['text/plain'].text()
    const parsed = new DOMParser().parseFromString(text, 'image/svg+xml')
    expect(!parsed.querySelector('parsererror') && parsed.documentElement.localName === 'svg', text.slice(0, 500))
    expect(parsed.querySelectorAll('.ours').length === 7, `${parsed.querySelectorAll('.ours').length} bars of ours`)
    expect(parsed.querySelectorAll('.theirs').length === (config.hasRivals ? 5 : 0), 'bars of rivals')
    expect(/cores?;.* threads? each;.*onnxruntime-web/.test(parsed.documentElement.textContent), 'it does not say where it comes from')
    const image = new Image()
    image.src = URL.createObjectURL(new Blob([text], { type: 'image/svg+xml' }))
    await image.decode()
    expect(image.width > 300 && image.height > 200, `${image.width} x ${image.height}`)
    const png = copied.items['image/png']
    if (png) expect((await createImageBitmap(png)).width === 2 * image.width, 'the PNG')
  },
  async 'figures are copied as a table and as JSON'() {
    const copy = async (/** @type {string} */ format) => {
      copied.text = ''
      button(`Copy figures as ${format}`).click()
      return until(format, () => copied.text, 240)
    }
    const markdown = await copy('Markdown')
    for (const [title, names] of Object.entries(PROGRAMS)) {
      expect(markdown.includes(`${title}:\n\n|`), markdown)
      for (const name of names) expect(markdown.includes(`| ${name} `), `no ${name}: ${markdown}`)
    }
    const { environment, measurements } = JSON.parse(await copy('JSON'))
    expect(/^(Chromium|HeadlessChrome|Chrome|Firefox) \d/.test(environment.browser), environment.browser)
    expect(environment.cores === navigator.hardwareConcurrency && environment.isolated && environment.threads === 1, 'where it ran')
    expect(/^\d+\.\d+/.test(environment.versions['routed-attention']), 'its version')
    for (const { title, rows } of measurements)
      for (const { name, seconds } of rows) {
        const isMeasured = config.hasRivals || !isRival(name)
        expect(seconds.filter((/** @type {number} */ each) => each > 0).length === (isMeasured ? 3 : 0), `${title}, ${name}: ${seconds}`)
      }
  },
}

// the page is there once its model writes
await until('the page', () => query('#panel-write .new'))
await report(config, async () => {
  const results = []
  for (const [name, statement] of Object.entries(statements))
    results.push(await statement().then(() => ({ name }), (error) => ({ name, error: String(error?.stack ?? error) }))) // prettier-ignore
  return results
})
