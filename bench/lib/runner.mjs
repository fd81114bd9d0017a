import { fork } from 'node:child_process'
import { bench, nodeBinary } from './paths.mjs'

/** A child process that runs one of the compared programs: it executes calls and otherwise waits. */
export class Runner {
  #child
  #waiting = []
  #ended
  #stderr = ''

  /** @param script a file of bench/measure, without its extension */
  constructor(name, script, { binary = nodeBinary(), env = {}, flags = ['--no-warnings'] } = {}) {
    this.name = name
    this.#child = fork(`${bench}/measure/${script}.mjs`, {
      cwd: bench,
      execPath: binary,
      execArgv: flags,
      env: { ...process.env, ...env },
      // Output of libraries is hidden unless they fail.
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    const collect = (text) => (this.#stderr = (this.#stderr + text).slice(-2000))
    this.#child.stdout.on('data', collect)
    this.#child.stderr.on('data', collect)
    this.#child.on('message', ({ result, error }) => {
      const { resolve, reject } = this.#waiting.shift()
      if (error === undefined) resolve(result)
      else reject(new Error(error))
    })
    this.#child.on('exit', (code, signal) => {
      this.#ended = new Error(`${name} ended (${signal ?? code}): ${this.#stderr.trim()}`)
      for (const { reject } of this.#waiting.splice(0)) reject(this.#ended)
    })
  }

  /** Calls a function of the process; arguments and result are JSON. */
  call(method, ...args) {
    if (this.#ended) return Promise.reject(this.#ended)
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      this.#child.send({ method, args })
    })
  }

  /** Asks the process to end, and kills it soon after, along with its children. */
  async close() {
    if (this.#ended) return
    const ended = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.disconnect()
    const insist = setTimeout(() => this.#child.kill('SIGKILL'), 3000)
    await ended
    clearTimeout(insist)
  }
}

/** Starts runners; a baseline that does not start is left out, and `note` says why. Ours must start. */
export async function openRunners(entries, note) {
  const opened = []
  try {
    for (const { name, script, args, binary, env, flags, ours = false, ...rest } of entries) {
      const runner = new Runner(name, script, { binary, env, flags })
      try {
        const info = await runner.call('open', args ?? {})
        opened.push({ ...rest, name, ours, args, runner, info })
      } catch (error) {
        await runner.close()
        if (ours) throw error
        note(`${name} is left out: ${error.message.split('\n')[0].replace(/^Error: /, '')}`)
      }
    }
  } catch (error) {
    await closeAll(opened)
    throw error
  }
  return opened
}

/** Those that got the threads they asked for; for each of ours that did not, a note gives the runtime's reason. */
export function withThreads(entries, note) {
  return entries.filter(({ name, ours, threads, info }) => {
    const got = !ours || info.threads === threads
    if (!got)
      note(
        `${name} on ${threads} threads is not measured: the runtime uses ${info.threads} (${info.unavailable.threads ?? 'no reason given'})`,
      )
    return got
  })
}

export async function closeAll(entries) {
  await Promise.all(entries.map(({ runner }) => runner.close()))
}
