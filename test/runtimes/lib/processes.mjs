import { spawn } from 'node:child_process'

/** Longest that one host may take, in milliseconds. */
const LIMIT = 180_000

/** What must not outlive this process. @type {Set<() => void>} */
const running = new Set()
process.on('exit', () => running.forEach((kill) => kill()))
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))

/**
 * @param {string} command @param {string[]} args @param {import('node:child_process').SpawnOptions} [options]
 * @returns {{ pid: number | undefined, output: () => string, ended: Promise<number | null>, end: () => Promise<void> }}
 */
export function start(command, args, options = {}) {
  // A group of its own: browsers leave children behind, which end with it.
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true, ...options })
  let output = ''
  child.stdout?.on('data', (text) => (output += text))
  child.stderr?.on('data', (text) => (output += text))
  const ended = new Promise((resolve) => {
    child.on('error', (error) => resolve(void (output += error.message) ?? -1))
    child.on('close', resolve)
  })
  const timer = setTimeout(() => kill(), LIMIT)
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
    ended,
    async end() {
      kill()
      await ended
    },
  }
}

/**
 * Runs a command to its end.
 * @param {string} command @param {string[]} args @param {import('node:child_process').SpawnOptions} [options]
 * @returns {Promise<string>} what it printed
 * @throws Error with its output when it fails
 */
export async function execute(command, args, options) {
  const started = start(command, args, options)
  const code = await started.ended
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}:\n${started.output().trim().slice(-4000)}`)
  return started.output()
}
