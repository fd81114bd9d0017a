// @ts-check
/*
 * Measures the page of examples/page in Chromium, as `npm run page -- --build` writes it.
 *
 *   npm run page:measure                 one compute thread; fails where a figure is worse than it must be
 *   npm run page:measure -- --threads    all threads; figures are printed, not demanded
 */
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { buildPage } from '../examples/page/build.mjs'
import { serveFolder } from '../examples/page/serve.mjs'
import { chromiumBinary } from './lib/paths.mjs'

const allThreads = process.argv.includes('--threads')
const folder = mkdtempSync(join(tmpdir(), 'routed-attention-page-'))
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const book = fileURLToPath(new URL('../models/novels-10m/treasure-island.txt', import.meta.url))

/** What must be reached, with one compute thread. */
const LONGEST_TASK = 50
const FIRST_TEXT = 3000
const SUGGESTION = 50
const READING = 0.8

await buildPage(folder)
cpSync(fileURLToPath(new URL('../dist', import.meta.url)), join(folder, 'measured'), { recursive: true })
const server = await serveFolder(folder)
const browser = await chromium.launch({ executablePath: chromiumBinary, args: ['--no-sandbox', '--disable-quic', '--no-first-run'] })
/** @type {[string, string, boolean][]} */
const rows = []
/** @param {string} name @param {string} figure @param {boolean} [isReached] */
const row = (name, figure, isReached = true) => rows.push([name, figure, isReached])
try {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } })
  const page = await context.newPage()
  await page.addInitScript(observe)
  const address = `${server.origin}/${allThreads ? '' : '?threads=1'}`
  await part(page, 'loading and writing', async () => {
    await page.goto(address)
    row('first text, nothing cached', `${(await firstText(page)).toFixed(0)} ms`)
    await page.goto('about:blank')
    await page.goto(address)
    const first = await firstText(page)
    row('first text, model cached', `${first.toFixed(0)} ms`, first <= FIRST_TEXT)
    await ended(page)
    row('writing', (await page.locator('#panel-write .status').textContent()) ?? '')
  })
  await part(page, 'looking at a token', async () => {
    await page.locator('#panel-write .tokens span').nth(-10).hover()
    await page.waitForTimeout(500)
  })
  await violations(page, 'Write')

  await page.click('#tab-complete')
  await part(page, 'completing', async () => {
    await page.locator('.editor-input').pressSequentially('captain of the ship had gone away and nobody knew where he was', { delay: 60 })
    const median = (await page.locator('#panel-complete .status').textContent()) ?? ''
    row('completing', median, Number(/median (\d+)/.exec(median)?.[1]) <= SUGGESTION)
  })
  await violations(page, 'Complete')

  await page.click('#tab-read')
  await part(page, 'reading', async () => {
    await page.setInputFiles('#read-file', book)
    await page.waitForFunction(() => /** @type {HTMLProgressElement} */ (document.querySelector('.numbers progress')).value === 1, null, {
      timeout: 600_000,
    })
  })
  const reading = (await page.locator('.numbers .status').textContent()) ?? ''
  const rate = Number(/([\d,]+) a second/.exec(reading)?.[1]?.replace(',', ''))
  const evaluated = await evaluateRate(page, allThreads)
  row('reading Treasure Island', reading)
  row(
    'of the speed of evaluate in a worker',
    `${((100 * rate) / evaluated).toFixed(0)} % of ${evaluated.toFixed(0)} a second`,
    rate >= READING * evaluated,
  )
  await violations(page, 'Read')
  await page.click('#tab-model')
  await violations(page, 'Model')
  row(
    'layout shift',
    (await page.evaluate(() => /** @type {any} */ (globalThis).layoutShift)).toFixed(4),
    (await page.evaluate(() => /** @type {any} */ (globalThis).layoutShift)) === 0,
  )
  const [navigation] = JSON.parse(await page.evaluate(() => JSON.stringify(performance.getEntriesByType('navigation'))))
  row(
    'first contentful paint',
    `${(await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN)).toFixed(0)} ms`,
  )
  row('loaded', `${navigation.loadEventEnd.toFixed(0)} ms`)
} finally {
  await browser.close()
  server.close()
  server.closeAllConnections()
  rmSync(folder, { recursive: true })
}
const width = Math.max(...rows.map(([name]) => name.length))
for (const [name, figure, isReached] of rows) console.log(`${isReached ? ' ' : '!'} ${name.padEnd(width)}  ${figure}`)
if (!allThreads && rows.some(([, , isReached]) => !isReached)) process.exitCode = 1

/** In the page: notes long tasks, layout shift, and when the first text is there. */
function observe() {
  const notes = /** @type {any} */ (globalThis)
  notes.longTasks = []
  notes.layoutShift = 0
  new PerformanceObserver((list) => notes.longTasks.push(...list.getEntries().map(({ duration }) => duration))).observe({
    type: 'longtask',
    buffered: true,
  })
  new PerformanceObserver((list) => {
    for (const entry of /** @type {any[]} */ (list.getEntries())) if (!entry.hadRecentInput) notes.layoutShift += entry.value
  }).observe({ type: 'layout-shift', buffered: true })
  const look = () => {
    if (document.querySelector('#panel-write .new')) notes.firstText = performance.now()
    else requestAnimationFrame(look)
  }
  requestAnimationFrame(look)
}

/** @param {import('playwright-core').Page} page @returns {Promise<number>} */
async function firstText(page) {
  const handle = await page.waitForFunction(() => /** @type {any} */ (globalThis).firstText, null, { timeout: 60_000 })
  return /** @type {Promise<number>} */ (handle.jsonValue())
}

/** @param {import('playwright-core').Page} page */
async function ended(page) {
  await page.waitForFunction(
    () => /** @type {HTMLButtonElement} */ (document.querySelector('#panel-write .buttons button:nth-child(2)')).disabled,
    null,
    { timeout: 60_000 },
  )
}

/**
 * A part of the visit, and the main thread's tasks in it: those that took too long, and the most processor time that
 * one took, which says whose fault it is on a busy machine. What is done between two parts (axe takes long) is not
 * counted.
 * @param {import('playwright-core').Page} page @param {string} during @param {() => Promise<void>} visit
 */
async function part(page, during, visit) {
  const longTasks = () => page.evaluate(() => /** @type {number[]} */ (/** @type {any} */ (globalThis).longTasks?.splice(0) ?? []))
  await page.waitForTimeout(200) // what is observed arrives later
  await longTasks()
  await browser.startTracing(page, { categories: ['toplevel', '__metadata'] })
  await visit()
  await page.waitForTimeout(200)
  const most = longestTask(JSON.parse((await browser.stopTracing()).toString()).traceEvents)
  const long = await longTasks()
  row(
    `tasks over ${LONGEST_TASK} ms, ${during}`,
    `${long.map((duration) => `${duration.toFixed(0)} ms`).join(', ') || 'none'} (at most ${most.toFixed(0)} ms of processor time)`,
    long.length === 0,
  )
}

/** Milliseconds of processor time. @param {{ name: string, pid: number, tid: number, tdur?: number, args: { name?: string } }[]} events */
function longestTask(events) {
  const threads = new Set(events.filter(({ args }) => args?.name === 'CrRendererMain').map(({ pid, tid }) => `${pid} ${tid}`))
  const tasks = events.filter(({ name, pid, tid }) => name.endsWith('RunTask') && threads.has(`${pid} ${tid}`))
  return tasks.reduce((most, { tdur = 0 }) => Math.max(most, tdur / 1000), 0)
}

/** @param {import('playwright-core').Page} page @param {string} tab */
async function violations(page, tab) {
  await page.evaluate(axe)
  const found = await page.evaluate(async () => {
    const { violations } = await /** @type {any} */ (globalThis).axe.run()
    return violations.map((/** @type {any} */ { id, impact, nodes }) => ({
      id,
      impact,
      nodes: nodes.map((/** @type {any} */ { html }) => html.slice(0, 120)),
    }))
  })
  const serious = found.filter((/** @type {any} */ { impact }) => impact === 'serious' || impact === 'critical')
  const told = found.map((/** @type {any} */ { id, impact, nodes }) => `${id} (${impact}): ${nodes.slice(0, 3).join(' ')}`)
  row(`axe, ${tab}`, told.join('; ') || 'nothing', serious.length === 0)
}

/** Tokens a second of `evaluate` in a worker of the same page, on the book. @param {import('playwright-core').Page} page @param {boolean} all */
async function evaluateRate(page, all) {
  // the page's own worker has no call for it, so this one imports the package
  const source = `
    import { createRuntime, LanguageModel } from ${JSON.stringify(`${server.origin}/measured/index.js`)}
    const runtime = await createRuntime(${all ? '{}' : '{ threads: 1 }'})
    const model = await LanguageModel.load(new URL(${JSON.stringify(`${server.origin}/models/novels-10m-v2-int8/`)}), { runtime })
    const ids = model.tokenizer.encode(await (await fetch(${JSON.stringify(`${server.origin}/texts/treasure-island.txt`)})).text())
    const begin = performance.now()
    await model.evaluate(ids)
    postMessage((ids.length / (performance.now() - begin)) * 1000)`
  return page.evaluate((source) => {
    const worker = new Worker(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })), { type: 'module' })
    return new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data)
      worker.onerror = ({ message }) => reject(new Error(message))
    })
  }, source)
}
