import { readFileSync } from 'node:fs'

/**
 * The other end of `Runner`: answers calls from the parent, one at a time; `clock` and `peakMemory` are there always.
 */
export function serve(ownFunctions) {
  const functions = { ...ownFunctions, clock, peakMemory }
  let queue = Promise.resolve()
  process.on('message', ({ method, args }) => {
    queue = queue.then(async () => {
      try {
        process.send({ result: (await functions[method](...args)) ?? null })
      } catch (error) {
        process.send({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) })
      }
    })
  })
  process.on('disconnect', () => process.exit(0))
}

/** Seconds since this process began. */
const clock = () => performance.now() / 1000

/**
 * Peak resident memory of this process so far, in bytes. What getrusage says begins, on Linux, at the peak of the
 * process that started this one.
 */
function peakMemory() {
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS * 1024
  return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024
}
