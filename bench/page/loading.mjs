// @ts-check

/** In the page, before its own scripts: notes what moves by itself, the largest paint, and when the first text is there. */
export function observe() {
  const notes = /** @type {any} */ (globalThis)
  notes.shifts = []
  notes.largestPaint = NaN
  /** @param {string} type @param {(entry: any) => void} note */
  const watch = (type, note) => new PerformanceObserver((list) => list.getEntries().forEach(note)).observe({ type, buffered: true })
  watch('layout-shift', ({ value, hadRecentInput, sources }) => {
    if (hadRecentInput) return
    const what = sources.map((/** @type {any} */ { node }) => `${node?.nodeName ?? ''}.${node?.className ?? ''}`)
    notes.shifts.push(`${value.toFixed(4)} of ${what.join(', ')}`)
  })
  watch('largest-contentful-paint', ({ startTime }) => (notes.largestPaint = startTime))
  const look = () => {
    if (document.querySelector('#panel-write .new')) notes.firstText = performance.now()
    else requestAnimationFrame(look)
  }
  requestAnimationFrame(look)
}

/** What moved without a visitor's doing. @param {import('playwright-core').Page} page @returns {Promise<string[]>} */
export function shifts(page) {
  return page.evaluate(() => /** @type {any} */ (globalThis).shifts)
}

/** Milliseconds after navigation. @param {import('playwright-core').Page} page */
export function paintTimes(page) {
  return page.evaluate(() => {
    const [navigation] = performance.getEntriesByType('navigation')
    return {
      firstPaint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN,
      largestPaint: /** @type {number} */ (/** @type {any} */ (globalThis).largestPaint),
      loaded: /** @type {PerformanceNavigationTiming} */ (navigation).loadEventEnd,
    }
  })
}

/** @param {import('playwright-core').Page} page @returns {Promise<number>} */
export async function firstText(page) {
  const handle = await page.waitForFunction(() => /** @type {any} */ (globalThis).firstText, null, { timeout: 60_000 })
  return /** @type {Promise<number>} */ (handle.jsonValue())
}

/** @param {import('playwright-core').Page} page */
export async function writingEnded(page) {
  await page.waitForFunction(
    () => /** @type {HTMLButtonElement} */ (document.querySelector('#panel-write .buttons button:nth-child(2)')).disabled,
    null,
    { timeout: 60_000 },
  )
}
