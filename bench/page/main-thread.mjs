// @ts-check

/** Longer tasks keep a visitor's click waiting, in milliseconds. */
export const LONGEST_TASK = 50

/**
 * @typedef {{ wall: number, processor: number, causes: string[] }} Task milliseconds by the clock and of processor time,
 * and what took longest in it
 * @typedef {{ name: string, ph: string, pid: number, tid: number, ts: number, dur?: number, tdur?: number, args: Record<string, any> }} TraceEvent
 */

/**
 * A part of a visit, and the tasks of the page's main thread in it.
 * @param {import('playwright-core').Page} page @param {() => Promise<void>} visit
 * @returns {Promise<Task[]>}
 */
export async function tasksDuring(page, visit) {
  const browser = /** @type {import('playwright-core').Browser} */ (page.context().browser())
  await browser.startTracing(page, { categories: ['toplevel', '__metadata', 'devtools.timeline'] })
  await visit()
  await page.waitForTimeout(200)
  return tasksOf(JSON.parse((await browser.stopTracing()).toString()).traceEvents)
}

/** @param {TraceEvent[]} events @returns {Task[]} */
function tasksOf(events) {
  const thread = (/** @type {TraceEvent} */ { pid, tid }) => `${pid} ${tid}`
  const threads = new Set(events.filter(({ args }) => args?.name === 'CrRendererMain').map(thread))
  const mine = events.filter((event) => event.ph === 'X' && threads.has(thread(event))).sort((a, b) => a.ts - b.ts)
  /** @type {TraceEvent[]} */
  const tasks = []
  for (const event of mine) {
    const last = tasks.findLast((task) => thread(task) === thread(event))
    // a task may be told of twice, one inside the other
    if (event.name.endsWith('RunTask') && !(last && event.ts < last.ts + (last.dur ?? 0))) tasks.push(event)
  }
  return tasks.map((task) => ({
    wall: (task.dur ?? 0) / 1000,
    processor: (task.tdur ?? 0) / 1000,
    causes: (task.dur ?? 0) / 1000 > LONGEST_TASK ? causesOf(task, mine) : [],
  }))
}

/** The longest parts of a task, what contains others left out. @param {TraceEvent} task @param {TraceEvent[]} events */
function causesOf(task, events) {
  const end = task.ts + (task.dur ?? 0)
  const inside = events.filter((event) => event.tid === task.tid && event.ts >= task.ts && event.ts + (event.dur ?? 0) <= end)
  const named = inside.filter(({ name }) => /^(FunctionCall|FireAnimationFrame|Layout|UpdateLayoutTree|Paint|Commit|EvaluateScript|MajorGC|MinorGC|HandlePostMessage|ParseHTML)$/.test(name)) // prettier-ignore
  return named
    .sort((a, b) => (b.dur ?? 0) - (a.dur ?? 0))
    .slice(0, 3)
    .map(({ name, dur = 0, tdur = 0 }) => `${name} ${ms(dur / 1000)}, ${ms(tdur / 1000)} of processor time`)
}

/** @param {number} value */
function ms(value) {
  return `${value.toFixed(value < 10 ? 1 : 0)} ms`
}

/**
 * What is said of tasks. On a busy machine a task stands still while others compute: the clock goes on, its processor
 * time does not, and tells whose fault it is.
 * @param {Task[]} tasks
 * @returns {{ byProcessor: string, byClock: string, isShort: boolean, isLongByClock: boolean }}
 */
export function describeTasks(tasks) {
  const most = (/** @type {'wall' | 'processor'} */ key) => tasks.reduce((max, task) => Math.max(max, task[key]), 0)
  const long = tasks.filter(({ wall }) => wall > LONGEST_TASK).sort((a, b) => b.wall - a.wall)
  const told = long.slice(0, 3).map(({ wall, processor, causes }) => `${ms(wall)} (${ms(processor)} of it computing: ${causes.join('; ')})`)
  return {
    byProcessor: `longest ${ms(most('processor'))} of ${tasks.length} tasks`,
    byClock: long.length === 0 ? `longest ${ms(most('wall'))}` : `${long.length} over ${LONGEST_TASK} ms: ${told.join(', ')}`,
    isShort: most('processor') <= LONGEST_TASK,
    isLongByClock: long.length > 0,
  }
}

/** How long tasks kept the page from answering in all, beyond 50 ms each, by processor time. @param {Task[]} tasks */
export function blockingTime(tasks) {
  return tasks.reduce((sum, { processor }) => sum + Math.max(processor - LONGEST_TASK, 0), 0)
}
