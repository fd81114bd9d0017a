// @ts-check
/*
 * A load test of the service in Miniflare, from a process of its own: conversations go on while objects and the whole
 * process are killed, clients vanish, repeat themselves and send rubbish.
 *
 *   node soak/run.mjs [--turns 3000] [--conversations 50] [--kills 4] [--minutes 30] [--model FOLDER] [--entry FILE] [--seed 1]
 *
 * It fails if a conversation's text differs from what one undisturbed greedy session writes, if a turn is lost or doubled,
 * if anything is answered with a status that it should not have, if the isolate takes more than 128 MB, garbage included, or
 * if its memory grows over the last 80 % of the turns.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { bundle } from '../test/bundle.mjs'
import { ServerProcess } from '../test/server-process.mjs'
import { FAULTS, SoakConversation } from './conversation.mjs'
import { Script, words } from './script.mjs'

const { values } = parseArgs({
  options: {
    turns: { type: 'string', default: '3000' },
    conversations: { type: 'string', default: '50' },
    kills: { type: 'string', default: '4' },
    minutes: { type: 'string', default: '30' },
    model: { type: 'string', default: fileURLToPath(new URL('../models/novels-10m-v2-int8', import.meta.url)) },
    entry: { type: 'string' },
    seed: { type: 'string', default: '1' },
    verbose: { type: 'boolean', default: false },
  },
})
const [turns, conversations, kills, minutes, seed] = [values.turns, values.conversations, values.kills, values.minutes, values.seed].map(
  Number,
)
/** Turns under way at the same time. */
const CLIENTS = 6
/** The share of the turns in which the process is killed; behind it, its memory must not grow. */
const RESTLESS = 0.2
/** How much the mean of samples may grow, as a share. */
const TOLERANCE = 0.1
/** Fewer turns do not fill the memory, so that it must grow. */
const LEAST_MEASURED = 1000
/** What Cloudflare gives an isolate. */
const MAX_BYTES = 128e6

const folder = mkdtempSync(join(tmpdir(), 'edge-soak-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
const entry = values.entry ?? (await bundle('test/worker.js', join(folder, 'out')))
const server = new ServerProcess(entry, join(folder, 'storage'), values.model)
const begin = performance.now()
/** @type {Map<string, number>} */
const counts = new Map()
/** @type {string[]} */
const violations = []
/** Turns taken, and bytes then. @type {[number, number][]} */
const memory = []
const random = generator(seed)
let [taken, killed] = [0, 0]
/** While the process is started again. @type {Promise<void> | undefined} */
let restarting

/** @type {import('./conversation.mjs').Load} */
const load = {
  address: () => server.address,
  random,
  count: (what) => void counts.set(what, (counts.get(what) ?? 0) + 1),
  report: (violation) => void violations.push(violation),
  ready: async () => restarting,
}

const script = await Script.open(values.model)
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void server.kill().finally(() => process.exit(1)))
await server.start()
const held = Array.from({ length: conversations }, (_, number) => new SoakConversation(load, number))
await Promise.all([...Array.from({ length: CLIENTS }, converse), watch()])
await checkAll()
await server.kill()
tell()
process.exit(violations.length > 0 ? 1 : 0)

function isOver() {
  return taken >= turns || violations.length > 10 || performance.now() - begin > minutes * 60_000
}

/** Takes turns of conversations that nobody else is at. */
async function converse() {
  while (!isOver()) {
    const free = held.filter(({ isBusy }) => !isBusy)
    const conversation = free[Math.floor(random() * free.length)]
    if (!conversation) return load.report('no conversation is free')
    const number = taken++
    // every kind of fault, again and again
    const fault = FAULTS[number % (2 * FAULTS.length)]
    await conversation.turn(words(random), fault).catch((error) => load.report(String(error?.stack ?? error)))
  }
}

/** Kills the process now and then, and starts it again on the same storage; looks at its memory. */
async function watch() {
  for (let next = 0; !isOver(); await new Promise((resolve) => setTimeout(resolve, 50))) {
    if (killed < kills && taken >= ((killed + 1) * RESTLESS * turns) / (kills + 1)) {
      killed++
      restarting = server.kill().then(() => server.start())
      await restarting
      restarting = undefined
    }
    if (taken < next) continue
    next = taken + turns / 100
    const { total, parts } = await measure()
    memory.push([taken, total])
    if (total > MAX_BYTES) load.report(`the isolate takes ${megabytes(total)}: ${parts}`)
    if (values.verbose) console.log(`${taken} turns: ${parts}`)
  }
  if (killed < kills && violations.length === 0) load.report(`the process was killed ${killed} times of ${kills}`)
  if (taken < turns && violations.length === 0) load.report(`${taken} of ${turns} turns were taken in ${minutes} minutes`)
}

/** JavaScript's heap with what lies outside of it, garbage included, and WebAssembly's memory, which the inspector leaves out. */
async function measure() {
  const metrics = await (await fetch(new URL('/metrics', server.address), { headers: { connection: 'close' } })).text()
  const reserved = Number(/memory_bytes\{kind="reserved"\} (\d+)/.exec(metrics)?.[1] ?? 0)
  const { heap, external } = await server.memory()
  return {
    total: heap + external + reserved,
    parts: `heap ${megabytes(heap)}, outside ${megabytes(external)}, WebAssembly ${megabytes(reserved)}`,
  }
}

/** Each conversation's whole text, as it is stored in the end. */
async function checkAll() {
  for (const conversation of held) {
    const asked = conversation.asked
    const expected = await script.play(asked)
    const told = await conversation.transcript()
    if (JSON.stringify(told) !== JSON.stringify(expected))
      load.report(
        `conversation ${conversation.number}, of ${asked.length} turns, has another text than an undisturbed session:\n${first(told, expected)}`,
      )
    load.count('conversations compared')
  }
}

/** @param {object[]} told @param {object[]} expected */
function first(told, expected) {
  const at = expected.findIndex((turn, index) => JSON.stringify(turn) !== JSON.stringify(told[index]))
  return `turn ${at} of ${told.length}: ${JSON.stringify(told[at])}, expected ${JSON.stringify(expected[at])}`
}

function tell() {
  for (const [what, count] of [...counts].sort(([, a], [, b]) => b - a)) console.log(`${String(count).padStart(7)}  ${what}`)
  console.log(
    `${taken} turns of ${conversations} conversations in ${((performance.now() - begin) / 1000).toFixed(0)} s; the process was killed ${killed} times`,
  )
  const most = Math.max(...memory.map(([, bytes]) => bytes))
  const flat = memory.filter(([at]) => at > turns * RESTLESS).map(([, bytes]) => bytes)
  const part = Math.max(1, Math.floor(flat.length / 4))
  const mean = (/** @type {number[]} */ samples) => samples.reduce((sum, bytes) => sum + bytes, 0) / samples.length
  const [early, late] = [mean(flat.slice(0, part)), mean(flat.slice(-part))]
  console.log(
    `memory: at most ${megabytes(most)} in ${memory.length} samples; ${megabytes(early)} in the first quarter of the last 80 %, ${megabytes(late)} in the last (means)`,
  )
  if (turns >= LEAST_MEASURED && late / early - 1 > TOLERANCE) violations.push(`memory grew by ${(100 * (late / early - 1)).toFixed(1)} %`)
  for (const violation of violations.slice(0, 20)) console.error(`FAILED  ${violation}`)
  console.log(violations.length > 0 ? `${violations.length} violations` : 'no wrong text, no lost or doubled turn')
}

/** @param {number} bytes */
function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`
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
