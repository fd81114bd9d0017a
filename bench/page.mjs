// @ts-check
/*
 * Measures the page of examples/page in Chromium, as `npm run page -- --build` writes it.
 *
 *   npm run page:measure                 one compute thread; fails where a figure is worse than it must be
 *   npm run page:measure -- --threads    all threads; figures are printed, not demanded
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { buildPage } from '../examples/page/build.mjs'
import { serveFolder } from '../examples/page/serve.mjs'
import { chromiumBinary } from './lib/paths.mjs'
import { median } from './lib/statistics.mjs'
import { dropFolder } from './page/dropping.mjs'
import { axeFindings, namesOfControls, reachableByKeyboard, watchPractices } from './page/audits.mjs'
import { firstText, observe, paintTimes, shifts, writingEnded } from './page/loading.mjs'
import { blockingTime, describeTasks, LONGEST_TASK, tasksDuring } from './page/main-thread.mjs'
import { readingRates, watchReading } from './page/reading-rates.mjs'

const allThreads = process.argv.includes('--threads')
const folder = mkdtempSync(join(tmpdir(), 'routed-attention-page-'))
const book = fileURLToPath(new URL('../models/novels-10m/treasure-island.txt', import.meta.url))

/** What must be reached, with one compute thread. */
const FIRST_TEXT = 3000
const SUGGESTION = 50
const READING = 0.8

/** While others compute, a task stands still for as long as they please: what the clock says is not the page's doing. */
const isQuiet = (loadavg()[0] ?? 0) < availableParallelism() / 2
console.log(`load of this machine: ${loadavg()[0]?.toFixed(1)}${isQuiet ? '' : ': tasks are not judged by the clock'}`)
await buildPage(folder)
cpSync(fileURLToPath(new URL('../dist', import.meta.url)), join(folder, 'measured'), { recursive: true })
const server = await serveFolder(folder)
const browser = await chromium.launch({ executablePath: chromiumBinary, args: ['--no-sandbox', '--disable-quic', '--no-first-run'] })
let isReached = true
/** @param {string} name @param {string} figure @param {boolean} [reached] */
const row = (name, figure, reached = true) => {
  isReached &&= reached
  console.log(`${reached ? ' ' : '!'} ${name.padEnd(44)}  ${figure}`)
}
try {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } })
  const page = await context.newPage()
  await page.addInitScript(observe)
  await page.addInitScript(watchReading)
  const practices = await watchPractices(page, server.origin)
  const address = `${server.origin}/${allThreads ? '' : '?threads=1'}`

  await page.goto(address)
  row('first text, nothing cached', `${(await firstText(page)).toFixed(0)} ms`)
  await page.goto('about:blank')
  await part(page, 'loading and writing', async () => {
    await page.goto(address)
    const first = await firstText(page)
    row('first text, model cached', `${first.toFixed(0)} ms`, first <= FIRST_TEXT)
    await writingEnded(page)
    row('writing', (await page.locator('#panel-write .status').textContent()) ?? '')
  })
  const { firstPaint, largestPaint, loaded } = await paintTimes(page)
  row('first and largest contentful paint, loaded', `${firstPaint.toFixed(0)}, ${largestPaint.toFixed(0)}, ${loaded.toFixed(0)} ms`)
  await part(page, 'looking at a token', async () => {
    await page.locator('#panel-write .tokens span').nth(-10).hover()
    await page.waitForTimeout(500)
    await page.locator('#panel-write .tokens span').nth(-10).click()
    await page.waitForTimeout(500)
  })

  await page.click('#tab-complete')
  await part(page, 'completing', async () => {
    await page.locator('.editor-input').pressSequentially('captain of the ship had gone away and nobody knew where he was', { delay: 60 })
    const told = (await page.locator('#panel-complete .status').textContent()) ?? ''
    row('completing', told, Number(/median (\d+)/.exec(told)?.[1]) <= SUGGESTION)
  })

  await page.click('#tab-read')
  await part(page, 'reading', async () => {
    const { reading, evaluating } = await readingRates(page, { origin: server.origin, threads: allThreads ? null : 1, book })
    const [reads, evaluates] = [median(reading), median(evaluating)]
    row('reading Treasure Island', (await page.locator('.numbers .status').textContent()) ?? '')
    row(
      `of the speed of evaluate, ${reading.length} turns each`,
      `${((100 * reads) / evaluates).toFixed(0)} %: ${reads.toFixed(0)} of ${evaluates.toFixed(0)} a second, medians`,
      reads >= READING * evaluates,
    )
  })

  // after all that is measured: what axe leaves in the heap would be collected in the page's tasks
  for (const tab of ['Write', 'Complete', 'Read a book', 'Model']) {
    await page.getByRole('tab', { name: tab, exact: true }).click()
    await page.waitForTimeout(200)
    await accessibility(page, tab)
  }
  const opened = await dropFolder(page, fileURLToPath(new URL('../models/novels-10m-v2-int8', import.meta.url)))
  row('a folder that is dropped', opened, opened.startsWith('novels-10m-v2-int8'))
  const moved = await shifts(page)
  row('layout shift, in all tabs', moved.length === 0 ? '0' : moved.join('; '), moved.length === 0)
  const { complaints, requests, checks } = await practices.ended()
  row(
    'best practices',
    complaints.join('; ') || `nothing to complain of in ${checks} checks, the console and ${requests} requests`,
    complaints.length === 0,
  )
} finally {
  await browser.close()
  server.close()
  server.closeAllConnections()
  rmSync(folder, { recursive: true })
}
if (!allThreads && !isReached) process.exitCode = 1

/**
 * A part of the visit, and the main thread's tasks in it. What is done between two parts (axe takes long) is not counted.
 * @param {import('playwright-core').Page} page @param {string} during @param {() => Promise<void>} visit
 */
async function part(page, during, visit) {
  const tasks = await tasksDuring(page, visit)
  const { byProcessor, byClock, isShort, isLongByClock } = describeTasks(tasks)
  row(`tasks by processor time, ${during}`, `${byProcessor}; ${blockingTime(tasks).toFixed(0)} ms beyond ${LONGEST_TASK}`, isShort)
  row(`tasks by the clock, ${during}`, `${byClock} (load ${loadavg()[0]?.toFixed(1)})`, !isQuiet || !isLongByClock)
}

/** @param {import('playwright-core').Page} page @param {string} tab */
async function accessibility(page, tab) {
  for (const colorScheme of /** @type {const} */ (['dark', 'light'])) {
    await page.emulateMedia({ colorScheme })
    const { passed, violations } = await axeFindings(page)
    row(`axe, ${tab}, ${colorScheme}`, violations.join('; ') || `nothing; ${passed} rules passed`, violations.length === 0)
  }
  const { named, unnamed } = await namesOfControls(page)
  row(`named controls, ${tab}`, unnamed.join('; ') || `all ${named}`, unnamed.length === 0)
  const { reached, missed } = await reachableByKeyboard(page)
  row(`reached with Tab, ${tab}`, missed.join('; ') || `all ${reached}`, missed.length === 0)
}
