// @ts-check

/** Tokens that each of the two reads before it is the other's turn. */
const TURN = 8192

/**
 * The rates at which the page reads a book and `evaluate` does in a worker of the same page, in turns of a few thousand
 * tokens, so that a machine that is busy for a while is so for both.
 * @param {import('playwright-core').Page} page whose Read tab is open, and whose workers `countTokens` watches
 * @param {{ origin: string, threads: number | null, book: string }} options
 * @returns {Promise<{ reading: number[], evaluating: number[] }>} tokens a second
 */
export async function readingRates(page, { origin, threads, book }) {
  await startEvaluating(page, origin, threads)
  const evaluate = () => page.evaluate((turn) => /** @type {any} */ (globalThis).evaluateNext(turn), TURN)
  await evaluate() // compiles
  const [reading, evaluating] = [/** @type {number[]} */ ([]), /** @type {number[]} */ ([])]
  const buttons = page.locator('#panel-read .bar-top .buttons button')
  await page.setInputFiles('#read-file', book)
  for (let begin = await progress(page); ;) {
    const end = await page.evaluate(untilRead, begin.tokens + TURN)
    if (end.tokens - begin.tokens >= TURN / 2) reading.push((end.tokens - begin.tokens) / (end.seconds - begin.seconds))
    if (end.isDone) return { reading, evaluating }
    await buttons.nth(0).click()
    await page.waitForFunction(() => /** @type {any} */ (globalThis).readingProgress.isStopped)
    evaluating.push(await evaluate())
    begin = await progress(page)
    await buttons.nth(1).click()
  }
}

/** @param {import('playwright-core').Page} page @returns {Promise<{ tokens: number, seconds: number }>} */
function progress(page) {
  return page.evaluate(() => /** @type {any} */ (globalThis).readingProgress)
}

/** In the page: resolves when so many tokens are read, or all. @param {number} tokens */
function untilRead(tokens) {
  const notes = /** @type {any} */ (globalThis)
  return new Promise((resolve) => {
    const look = () => {
      const { readingProgress } = notes
      if (readingProgress.tokens >= tokens || readingProgress.isDone) resolve({ ...readingProgress })
      else setTimeout(look, 20)
    }
    look()
  })
}

/** In the page, before its own scripts: notes how far the worker's reading is. */
export function watchReading() {
  const notes = /** @type {any} */ (globalThis)
  notes.readingProgress = { tokens: 0, seconds: 0, isDone: false, isStopped: false }
  const { addEventListener } = Worker.prototype
  /** @this {Worker} @param {any[]} args */
  Worker.prototype.addEventListener = function (...args) {
    const [type] = args
    if (type === 'message')
      Reflect.apply(addEventListener, this, [
        'message',
        (/** @type {MessageEvent} */ { data }) => {
          const told = data?.event ?? data?.result
          if (told?.bytesTotal === undefined) return
          const { tokens, seconds, bytesDone, bytesTotal } = told
          notes.readingProgress = { tokens, seconds, isDone: bytesDone >= bytesTotal, isStopped: 'result' in data }
        },
      ])
    return Reflect.apply(addEventListener, this, args)
  }
}

/**
 * The page's own worker has no call that evaluates, so another one imports the package.
 * @param {import('playwright-core').Page} page @param {string} origin @param {number | null} threads
 */
async function startEvaluating(page, origin, threads) {
  const source = `
    import { createRuntime, LanguageModel } from ${JSON.stringify(`${origin}/measured/index.js`)}
    const runtime = await createRuntime(${JSON.stringify(threads ? { threads } : {})})
    const model = await LanguageModel.load(new URL(${JSON.stringify(`${origin}/models/novels-10m-v2-int8/`)}), { runtime })
    const ids = Int32Array.from(model.tokenizer.encode(await (await fetch(${JSON.stringify(`${origin}/texts/treasure-island.txt`)})).text()))
    let at = 0
    onmessage = async ({ data }) => {
      const part = ids.subarray(at, at + data)
      at = at + 2 * data > ids.length ? 0 : at + data
      const begin = performance.now()
      await model.evaluate(part)
      postMessage((part.length / (performance.now() - begin)) * 1000)
    }
    postMessage(0)`
  await page.evaluate((source) => {
    const notes = /** @type {any} */ (globalThis)
    const worker = new Worker(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })), { type: 'module' })
    const answer = () =>
      new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(data)
        worker.onerror = ({ message }) => reject(new Error(message))
      })
    notes.evaluateNext = (/** @type {number} */ turn) => {
      const rate = answer()
      worker.postMessage(turn)
      return rate
    }
    return answer()
  }, source)
}
