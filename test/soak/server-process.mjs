import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'

const command = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))

/** `routed-attention serve` as a process of its own, always on the same port and store. */
export class ServerProcess {
  #arguments
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #child
  #output = ''
  #isWanted = false

  /** @param {string[]} args of `serve` */
  constructor(args) {
    this.#arguments = args
  }

  /** Starts it, and resolves once it listens. @returns {Promise<void>} */
  start() {
    const child = spawn(process.execPath, [command, 'serve', ...this.#arguments], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    this.#isWanted = true
    return new Promise((resolve, reject) => {
      const read = (/** @type {Buffer} */ text) => {
        this.#output = (this.#output + text.toString()).slice(-20_000)
        if (/127\.0\.0\.1:\d+/.test(this.#output)) resolve()
      }
      child.stdout.on('data', read)
      child.stderr.on('data', read)
      child.on('close', (code, signal) => {
        if (this.#child !== child || !this.#isWanted) return
        const error = new Error(`the server ended by itself, with ${code ?? signal}:\n${this.#output}`)
        reject(error)
        this.failure = error
      })
    })
  }

  /** Why it is not there any more. @type {Error | undefined} */
  failure

  /** Ends it by its process id, and resolves once it is gone. @param {'SIGKILL' | 'SIGTERM'} signal @returns {Promise<void>} */
  end(signal) {
    const child = this.#child
    this.#isWanted = false
    this.#output = ''
    return new Promise((resolve) => {
      if (!child || child.exitCode !== null || child.signalCode !== null) return resolve()
      child.on('close', () => resolve())
      if (child.pid) process.kill(child.pid, signal)
    })
  }

  /** Bytes of resident memory; undefined where the system does not tell. */
  get residentBytes() {
    try {
      const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.#child?.pid}/status`, 'utf8')) ?? []
      return kilobytes === undefined ? undefined : Number(kilobytes) * 1024
    } catch {
      return undefined
    }
  }
}

/**
 * A port that nobody listens on. It is none of those that the system gives to others by itself (from 32,768 on Linux), which
 * could be taken before it is used here, or while a server on it is started again.
 * @returns {Promise<number>}
 */
export async function freePort() {
  for (;;) {
    const port = randomInt(20_000, 30_000)
    const isFree = await new Promise((resolve) => {
      const server = createServer()
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
    })
    if (isFree) return port
  }
}
