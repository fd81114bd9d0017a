import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { check, equal, run } from '../suite/check.js'
import { build, project, root, tool } from '../lib/paths.mjs'
import { execute, start } from '../lib/processes.mjs'
import { freePort } from '../../soak/server-process.mjs'
import { runProcess } from './processes.mjs'

const deno = tool('@deno/linux-x64-glibc/deno')
const example = join(root, 'examples/deno-deploy')
const key = 'a-key'
/** Milliseconds after which a program counts as never to start. */
const PATIENCE = 300_000
/** Tokens of a turn that takes a while. */
const TURN = 400

/** docs/platforms/deno-deploy.md: its program, and the store of it. @param {{ snippets: Record<string, string> }} page */
export async function runDenoDeploy({ snippets }) {
  const folder = makeFolder()
  const config = { id: 'deno-kv', example: new URL(`file://${folder}/`).href }
  const { results } = await runProcess(String(deno), ['run', '-A', '--unstable-kv', 'hosts/deno-kv.js'], config)
  return [...(await run(statements(folder, snippets['main.ts']))), ...results]
}

/** The example, with what it imports. */
function makeFolder() {
  const folder = join(project, 'deno-deploy')
  rmSync(folder, { recursive: true, force: true })
  cpSync(example, folder, { recursive: true })
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(join(project, 'node_modules/routed-attention'), join(folder, 'node_modules/routed-attention'), 'dir')
  const model = 'routed-attention-novels-10m-v2-int8'
  symlinkSync(join(root, 'models/novels-10m-v2-int8'), join(folder, 'node_modules', model), 'dir')
  return folder
}

/** @param {string} folder @param {string | undefined} page @returns {[string, () => Promise<void>][]} */
function statements(folder, page) {
  return [
    ['the page shows the program as it is', async () => equal(page, readFileSync(join(example, 'main.ts'), 'utf8'), 'main.ts')],
    ['its types are right', async () => void (await execute(String(deno), ['check', 'main.ts'], { cwd: folder }))],
    [
      'a turn that is killed, or that the platform stops, goes on with the same tokens in the next process',
      async () => {
        const database = join(build, 'deno-deploy.kv')
        const expected = await serving(folder, database, async (send) => tokensOf(await send('GET', `${await begin(send)}/events`)))
        equal(expected.length, TURN, 'tokens')
        for (const signal of /** @type {const} */ (['SIGKILL', 'SIGINT'])) {
          let made = 0
          // if this process stalls, a turn may be over before it is ended: another one is begun then
          for (let attempts = 0; attempts < 10 && made === 0; attempts++) made = await endAndGoOn(folder, database, signal, expected)
          check(made > 0, `${signal} came after the turn's end each time`)
        }
      },
    ],
    [
      'it does not start without keys',
      async () => {
        const child = start(String(deno), ['run', '-A', 'main.ts'], { cwd: folder, env: { ...process.env, API_KEYS: '' } })
        check((await child.ended) === 1 && /set API_KEYS/.test(child.output()), `it ${child.ending()}: ${child.output()}`)
      },
    ],
  ]
}

/**
 * Ends a turn in the middle, and lets the next process go on with it.
 * @param {string} folder @param {string} database @param {'SIGKILL' | 'SIGINT'} signal @param {number[]} expected
 * @returns {Promise<number>} how many tokens of it the next process has made
 */
async function endAndGoOn(folder, database, signal, expected) {
  const address = await serving(folder, database, async (send, child) => {
    const begun = await begin(send)
    const response = await send('GET', `${begun}/events`)
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader()
    await reader.read()
    process.kill(Number(child.pid), signal)
    await reader.cancel().catch(() => {})
    const code = await child.ended
    check(signal === 'SIGKILL' || code === 0, `it ${child.ending()}: ${child.output()}`)
    return begun
  })
  return serving(folder, database, async (send) => {
    equal(await tokensOf(await send('GET', `${address}/events`)), expected, `the answer after ${signal}`)
    const metrics = await (await send('GET', '/metrics')).text()
    // what is under way may be finished within the time that SIGINT leaves
    return signal === 'SIGINT' ? TURN : Number(/kind="completion"} (\d+)/.exec(metrics)?.[1] ?? 0)
  })
}

/** @typedef {(method: string, path: string, body?: object) => Promise<Response>} Send */

/**
 * Runs the program, and something with it.
 * @template T
 * @param {string} folder @param {string} database
 * @param {(send: Send, child: ReturnType<typeof start>) => Promise<T>} work
 */
async function serving(folder, database, work) {
  const port = await freePort()
  const env = { ...process.env, API_KEYS: key, KV_PATH: database, PORT: String(port) }
  const child = start(String(deno), ['run', '-A', 'main.ts'], { cwd: folder, env })
  /** @type {Send} */
  const send = async (method, path, body) => {
    const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, headers, ...(body && { body: JSON.stringify(body) }) })
    check(response.ok, `${method} ${path} answered ${response.status}`)
    return response
  }
  try {
    let hasEnded = false
    void child.ended.then(() => (hasEnded = true))
    for (const end = performance.now() + PATIENCE; ;) {
      const isUp = await fetch(`http://127.0.0.1:${port}/health`).then(
        ({ ok }) => ok,
        () => false,
      )
      if (isUp) break
      check(!hasEnded && performance.now() < end, `it does not answer, and ${child.ending()}: ${child.output()}`)
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    return await work(send, child)
  } finally {
    await child.end()
  }
}

/** A conversation whose turn takes a while. @param {Send} send @returns {Promise<string>} its address */
async function begin(send) {
  const { id } = await (await send('POST', '/v1/conversations', {})).json()
  const body = { prompt: 'The old captain', max_tokens: TURN, seed: 1, ignore_eos: true }
  await send('POST', `/v1/conversations/${id}/turns`, body)
  return `/v1/conversations/${id}`
}

/** @param {Response} response */
async function tokensOf(response) {
  return [...(await response.text()).matchAll(/"token":(\d+)/g)].map(([, id]) => Number(id))
}
