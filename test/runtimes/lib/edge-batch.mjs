/*
 * Under Node 22 or newer: `edge-batch.mjs ENTRY MODEL` serves hosts/edge-batch.js to many clients at once, some of which
 * end in the middle, and prints what went wrong: a list of { name, error }.
 */
import { openMiniflare } from './open-miniflare.mjs'

const [entry = '', model] = process.argv.slice(2)
const miniflare = openMiniflare(entry, '')

/** @param {object} task @returns {Promise<any>} */
async function ask(task) {
  const response = await fetch(address, { method: 'POST', body: JSON.stringify(task), headers: { connection: 'close' } })
  const answer = /** @type {any} */ (await response.json())
  if (!response.ok) throw new Error(answer.error)
  return answer
}

/** @param {number} index @param {number} [leaveAt] */
const task = (index, leaveAt) => ({
  action: 'decode',
  id: `client ${index}, ${Math.random()}`,
  prompt: Array.from({ length: 5 + 20 * index }, (_, i) => 300 + ((i * 7919 + index * 31) % 3500)),
  count: 40,
  leaveAt,
})

/** @type {{ name: string, error?: string }[]} */
const results = []
/** @param {string} name @param {() => Promise<void>} work */
async function check(name, work) {
  try {
    await work()
    results.push({ name })
  } catch (error) {
    results.push({ name, error: /** @type {Error} */ (error).message })
  }
}

/** @param {boolean} condition @param {string} message */
function assert(condition, message) {
  if (!condition) throw new Error(message)
}

const clients = [0, 1, 2, 3, 4, 5]
const address = await miniflare.ready
try {
  await ask({ action: 'load', model })
  /** @type {object[]} */
  const alone = []
  for (const index of clients) alone.push(await ask(task(index)))
  const { used } = await ask({ action: 'status' })

  await check('requests that decode at the same time are computed together, with the bits they have alone', async () => {
    let largest = 0
    // requests of a process that stalls may come one by one: none of them waits for the others
    for (let rounds = 0; rounds < 10 && largest <= 2; rounds++) {
      const together = await Promise.all(clients.map((index) => ask(task(index))))
      assert(JSON.stringify(together) === JSON.stringify(alone), 'other tokens or bits than alone')
      const { batches } = await ask({ action: 'status' })
      largest = Math.max(...batches)
    }
    assert(largest > 2, `the largest batch has ${largest} sequences`)
  })

  await check('requests that end in the middle hold up no other, and what they left is collected by the next one', async () => {
    const leaving = clients.map((index) => ask(task(index, 7 * index - 1)))
    const together = await Promise.all(clients.map((index) => ask(task(index))))
    assert(JSON.stringify(together) === JSON.stringify(alone), 'other tokens or bits than alone')
    await Promise.all(leaving)
    const { sessions } = await ask({ action: 'status' })
    assert(sessions === clients.length, `${sessions} sessions, where ${clients.length} requests have left`)
    await ask({ action: 'leaseEnds' })
    const status = await ask({ action: 'status' })
    assert(status.sessions === 0, `${status.sessions} sessions are left`)
    assert(status.used === used, `${status.used} bytes are used, and ${used} were before`)
  })
} finally {
  await miniflare.dispose()
}
console.log(JSON.stringify(results))
