import { spawn } from 'node:child_process'

/**
 * Longest that one process may take, in milliseconds. It ends those that hang: the longest takes a minute on a machine that
 * is quiet, and one that is busy or stalls may need many times as long.
 */
const LIMIT = 10 * 60_000

/** What must not outlive this process. @type {Set<() => void>} */
const running = new Set()
process.on('exit', () => running.forEach((kill) => kill()))
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))

/**
 * @typedef {object} Started
 * @property {number | undefined} pid
 * @property {() => string} output what it has printed
 * @property {() => string} standardOutput the same without standard error
 * @property {Promise<number | null>} ended its exit code; null if a signal ended it
 * @property {() => string} ending how it ended, in words
 * @property {() => Promise<void>} end kills it
 */

/**
 * @param {string} command @param {string[]} args @param {import('node:child_process').SpawnOptions} [options]
 * @returns {Started}
 */
export function start(command, args, options = {}) {
  // A group of its own: browsers leave children behind, which end with it.
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true, ...options })
  let [output, standardOutput, ending] = ['', '', 'has not ended']
  // a character may be cut in two where one piece ends
  child.stdout?.setEncoding('utf8').on('data', (text) => {
    output += text
    standardOutput += text
  })
  child.stderr?.setEncoding('utf8').on('data', (text) => (output += text))
  /** @type {Promise<number | null>} */
  const ended = new Promise((resolve) => {
    child.on('error', (error) => {
      ending = error.message
      output += error.message
      resolve(-1)
    })
    child.on('close', (code, signal) => {
      ending = isLate ? `was ended, since it took longer than ${LIMIT / 1000} s` : `ended with ${code ?? signal}`
      resolve(code)
    })
  })
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    kill()
  }, LIMIT)
  void ended.then(() => {
    clearTimeout(timer)
    running.delete(kill)
  })
  const kill = () => {
    try {
      process.kill(-(/** @type {number} */ (child.pid)), 'SIGKILL')
    } catch {
      // it has ended
    }
  }
  running.add(kill)
  return {
    pid: child.pid,
    output: () => output,
    standardOutput: () => standardOutput,
    ended,
    ending: () => ending,
    async end() {
      kill()
      await ended
    },
  }
}

/**
 * Runs a command to its end.
 * @param {string} command @param {string[]} args @param {import('node:child_process').SpawnOptions} [options]
 * @returns {Promise<string>} what it wrote to standard output; warnings are on standard error
 * @throws Error with all of its output when it fails
 */
export async function execute(command, args, options) {
  return (await toItsEnd(command, args, options)).standardOutput()
}

/**
 * The same, warnings included.
 * @param {string} command @param {string[]} args @param {import('node:child_process').SpawnOptions} [options]
 * @returns {Promise<string>} what it printed
 */
export async function executeWithWarnings(command, args, options) {
  return (await toItsEnd(command, args, options)).output()
}

/** @param {string} command @param {string[]} args @param {import('node:child_process').SpawnOptions} [options] */
async function toItsEnd(command, args, options) {
  const started = start(command, args, options)
  const code = await started.ended
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ${started.ending()}:\n${started.output().trim().slice(-4000)}`)
  return started
}
