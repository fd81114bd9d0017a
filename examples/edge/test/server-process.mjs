// @ts-check
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/**
 * The heap that a deployed isolate has at most, 128 MB. The local engine has no such limit, and lets garbage gather as if
 * there were gigabytes: V8 takes the sizes of its generations from it.
 */
const V8_FLAGS = '--max-heap-size=128'

/** Miniflare in a process of its own, which can be killed and started again on the same storage. */
export class ServerProcess {
  #args
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #child
  /** @type {WebSocket | undefined} */
  #inspector
  #asked = 0
  address = ''
  /** What it printed besides its address. @type {string[]} */
  output = []

  /** @param {string} entry @param {string} storage @param {string} model @param {object} [bindings] */
  constructor(entry, storage, model, bindings = {}) {
    this.#args = [fileURLToPath(new URL('serve.mjs', import.meta.url)), entry, storage, model, JSON.stringify(bindings)]
  }

  async start() {
    const env = { ...process.env, MINIFLARE_WORKERD_V8_FLAGS: V8_FLAGS }
    const child = spawn(process.execPath, this.#args, { stdio: ['ignore', 'pipe', 'pipe'], env })
    this.#child = child
    child.stderr?.on('data', (text) => this.output.push(String(text)))
    const ended = new Promise((_, reject) => child.on('close', () => reject(new Error(`the server has ended:\n${this.output.join('')}`))))
    ended.catch(() => {})
    const ready = new Promise((resolve) => {
      createInterface({ input: /** @type {import('node:stream').Readable} */ (child.stdout) }).on('line', (line) => {
        if (line.startsWith('{"ready"')) resolve(JSON.parse(line))
        else if (!line.startsWith('{"method"')) this.output.push(`${line}\n`)
      })
    })
    const { address, inspector } = /** @type {any} */ (await Promise.race([ready, ended]))
    this.address = address
    const url = new URL(inspector)
    url.protocol = 'http:'
    let target
    // it may be told of a moment later
    while (!target) {
      const targets = /** @type {any[]} */ (await Promise.race([ended, fetch(new URL('/json', url)).then((answer) => answer.json())]))
      target = targets.find(({ id }) => !/loopback|proxy|entry/.test(id)) ?? targets[0]
    }
    this.#inspector = new WebSocket(target.webSocketDebuggerUrl)
    await new Promise((resolve, reject) => {
      this.#inspector?.addEventListener('open', resolve)
      this.#inspector?.addEventListener('error', () => reject(new Error('the inspector does not answer')))
    })
  }

  /** Process ids: Node's, and those of the engine below it. */
  get #ids() {
    const id = /** @type {number} */ (this.#child?.pid)
    const children = readFileSync(`/proc/${id}/task/${id}/children`, 'utf8')
    return [...children.trim().split(' ').filter(Boolean).map(Number), id]
  }

  /** Seconds that the engine has computed. */
  get cpuSeconds() {
    const [engine] = this.#ids
    const fields = readFileSync(`/proc/${engine}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ')
    return (Number(fields[11]) + Number(fields[12])) / 100
  }

  /** Bytes of the isolate, garbage included: JavaScript's heap, and what lies outside of it, but for WebAssembly's memory. */
  async memory() {
    // the inspector is heard only while a request is served
    const serving = setInterval(() => void fetch(new URL('/health', this.address)).catch(() => {}), 20)
    const usage = await this.#ask('Runtime.getHeapUsage').finally(() => clearInterval(serving))
    const { usedSize, backingStorageSize = 0, embedderHeapUsedSize = 0 } = usage
    return {
      heap: usedSize + embedderHeapUsedSize,
      external: backingStorageSize,
      total: usedSize + embedderHeapUsedSize + backingStorageSize,
    }
  }

  /** @param {string} method @returns {Promise<any>} */
  #ask(method) {
    const id = ++this.#asked
    const inspector = /** @type {WebSocket} */ (this.#inspector)
    const heard = new AbortController()
    const { signal } = heard
    /** @type {Promise<any>} */
    const answer = new Promise((resolve, reject) => {
      const listen = (/** @type {MessageEvent} */ { data }) => {
        const message = JSON.parse(String(data))
        if (message.id !== id) return
        if (message.error) reject(new Error(message.error.message))
        else resolve(message.result)
      }
      inspector.addEventListener('message', listen, { signal })
      inspector.addEventListener('close', () => reject(new Error(`the inspector left while ${method} was asked`)), { signal })
      inspector.send(JSON.stringify({ id, method }))
    })
    return answer.finally(() => heard.abort())
  }

  /** Kills it, without a word. */
  async kill() {
    this.#inspector?.close()
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise((resolve) => child.on('close', resolve))
    for (const id of this.#ids) {
      try {
        process.kill(id, 'SIGKILL')
      } catch {
        // it has ended by itself
      }
    }
    await ended
  }
}
