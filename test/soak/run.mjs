/*
 * A load test of `routed-attention serve`, from a process of its own: clients that converse, leave, stop reading, repeat
 * themselves and send rubbish, while the server is killed and started again on the same store.
 *
 *   node test/soak/run.mjs [--requests 10000] [--connections 200] [--kills 4] [--minutes 20] [--model FOLDER] [--seed 1]
 *
 * It fails if a text differs from that of a session that nobody disturbs, if a turn is lost or doubled, if anything is
 * answered with a status that it should not have, or if resident memory grows over the last 80 % of the requests.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { undisturbedAnswers } from './answers.mjs'
import { checkConversation, Client } from './client.mjs'
import { Connection, Unreachable } from './connection.mjs'
import { freePort, ServerProcess } from './server-process.mjs'
import { STALL_TIMEOUT, standStill } from './standing-reader.mjs'

const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '10000' },
    connections: { type: 'string', default: '200' },
    kills: { type: 'string', default: '4' },
    minutes: { type: 'string', default: '20' },
    model: { type: 'string', default: fileURLToPath(new URL('../../models/novels-10m-v2-int8', import.meta.url)) },
    seed: { type: 'string', default: '1' },
  },
})
const requests = Number(values.requests)
const connections = Number(values.connections)
const kills = Number(values.kills)
/** The share of the requests in which the server is killed; behind it, its memory must not grow. */
const RESTLESS = 0.2
/** How much resident memory may grow, as a share. */
const TOLERANCE = 0.1
/** Fewer requests do not tell. */
const LEAST_MEASURED = 5000
/** Times that something is asked for again in the end, every 100 ms: 5 minutes. */
const PATIENCE = 3000
/** Conversations that are read once more in the end. */
const MAX_CHECKED = 300

if (!process.getBuiltinModule?.('node:sqlite')) {
  console.error(`the soak test needs a Node with SQLite (22.13 or newer), and this is ${process.version}`)
  process.exit(2)
}

const folder = mkdtempSync(join(tmpdir(), 'routed-attention-soak-'))
const port = await freePort()
const store = join(folder, 'conversations.sqlite')
const server = new ServerProcess([values.model, '--port', String(port), '--store', store, '--stall-timeout', String(STALL_TIMEOUT)])
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))

const begin = performance.now()
/** @type {Map<string, number>} */
const counts = new Map()
/** @type {string[]} */
const violations = []
/** Requests sent, and the server's resident bytes then. @type {[number, number][]} */
const memory = []
let sent = 0
const uncounted = [
  'answered 503',
  'not answered',
  'left',
  'broken off',
  'told of the end',
  'half a request',
  'stood still',
  'answered to the end',
]

/** @type {import('./client.mjs').Load} */
const load = {
  port,
  scripts: await undisturbedAnswers(values.model),
  isOver: () =>
    sent >= requests || violations.length > 20 || performance.now() - begin > Number(values.minutes) * 60_000 || Boolean(server.failure),
  count(what) {
    counts.set(what, (counts.get(what) ?? 0) + 1)
    if (!uncounted.includes(what)) sent++
  },
  report: (violation) => void violations.push(violation),
  held: new Map(),
}

await server.start()
const clients = Array.from({ length: connections }, (_, index) => new Client(load, generator(Number(values.seed) * 1000 + index)))
const running = Promise.all(clients.map((client) => client.run().catch((error) => load.report(String(error?.stack ?? error)))))
const standing = standStill(load)
const watching = watch()
await running
await standing
await watching
await checkIdle()
await checkAll()
await server.end('SIGTERM')
tell()
process.exit(violations.length > 0 ? 1 : 0)

/** Kills the server now and then, by its process id, and starts it again; notes its memory. */
async function watch() {
  let killed = 0
  for (let next = 0; !load.isOver(); await new Promise((resolve) => setTimeout(resolve, 20))) {
    if (killed < kills && sent >= ((killed + 1) * RESTLESS * requests) / (kills + 1)) {
      // the last one may finish or save what is under way
      await server.end(++killed === kills && kills > 1 ? 'SIGTERM' : 'SIGKILL')
      await server.start()
    }
    if (sent < next) continue
    next = sent + requests / 200
    const { residentBytes } = server
    if (residentBytes !== undefined) memory.push([sent, residentBytes])
  }
  if (server.failure) load.report(String(server.failure))
  if (killed < kills && violations.length === 0) load.report(`the server was killed ${killed} times of ${kills}, in ${sent} requests`)
  if (sent < requests) load.report(`${sent} of ${requests} requests were sent in ${values.minutes} minutes`)
}

/** Whoever left, vanished or stood still: nothing is computed for them, and nothing waits. */
async function checkIdle() {
  const metrics = ['routed_attention_sequences', 'routed_attention_queue_length']
  let busy = metrics
  for (let attempt = 0; busy.length > 0 && attempt < PATIENCE; attempt++) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
    busy = metrics.filter((name) => !text.includes(`${name} 0\n`))
  }
  if (busy.length > 0) load.report(`in the end ${busy.join(' and ')} did not come down to 0`)
}

/** What is stored in the end, whoever left it, and when. */
async function checkAll() {
  const connection = new Connection(port)
  const get = async (/** @type {string} */ path) => {
    for (let attempt = 0; ; attempt++) {
      try {
        const answer = await connection.send('GET', path)
        if (answer.status !== 503 || attempt > PATIENCE) return answer
        await answer.text()
      } catch (error) {
        if (!(error instanceof Unreachable) || attempt > PATIENCE) throw error
      }
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
  const held = [...load.held]
  const step = Math.max(1, Math.floor(held.length / MAX_CHECKED))
  for (const [index, [address, { turns }]] of held.entries()) {
    if (index % step !== 0) continue
    counts.set('checked in the end', (counts.get('checked in the end') ?? 0) + 1)
    await checkConversation(get, address, turns, load.report).catch((error) => load.report(String(error)))
  }
  connection.close()
}

function tell() {
  for (const [what, count] of [...counts].sort(([, a], [, b]) => b - a)) console.log(`${String(count).padStart(7)}  ${what}`)
  const seconds = (performance.now() - begin) / 1000
  console.log(
    `${sent} requests over ${connections} connections in ${seconds.toFixed(0)} s; ${kills} times the server was ended and started again`,
  )
  const flat = memory.filter(([at]) => at > requests * (RESTLESS + 0.05)).map(([, bytes]) => bytes)
  if (requests >= LEAST_MEASURED && flat.length >= 20) {
    const mean = (/** @type {number[]} */ part) => part.reduce((sum, bytes) => sum + bytes, 0) / part.length
    const fifth = Math.floor(flat.length / 5)
    const [early, late] = [mean(flat.slice(0, fifth)), mean(flat.slice(-fifth))]
    const growth = late / early - 1
    console.log(
      `resident memory: ${(early / 1e6).toFixed(0)} MB, in the end ${(late / 1e6).toFixed(0)} MB (${(100 * growth).toFixed(1)} %)`,
    )
    if (growth > TOLERANCE) violations.push(`resident memory grew by ${(100 * growth).toFixed(1)} %`)
  }
  for (const violation of violations.slice(0, 20)) console.error(`FAILED  ${violation}`)
  console.log(violations.length > 0 ? `${violations.length} violations` : 'no wrong text, no lost or doubled turn')
}

/** Random numbers in [0, 1), the same for the same seed (mulberry32). @param {number} seed */
function generator(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let z = Math.imul(state ^ (state >>> 15), state | 1)
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32
  }
}
