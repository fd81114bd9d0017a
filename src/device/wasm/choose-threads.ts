import { builtinModule } from '../../builtin-module.js'
import { requestsAreIsolated } from '../../event-loop.js'

/** Upper limit for 'auto': more threads gain nothing on the chunks of a forward pass. */
const MOST = 8

/** Number of threads, and why not more. */
export interface ThreadChoice {
  readonly threads: number
  readonly unavailable: string | undefined
}

/**
 * An explicit number is honoured even beyond the number of cores; 'auto' uses one thread per core, up to 8.
 * @param isolatesCallers see `Device.isolatesCallers`
 */
export function chooseThreads(wanted: number | 'auto', isolatesCallers: boolean): ThreadChoice {
  if (wanted === 1) return { threads: 1, unavailable: undefined }
  const unavailable = whyNone() ?? (isolatesCallers ? 'isolateCallers is on, and threads would have to be waited for' : undefined)
  if (unavailable) return { threads: 1, unavailable }
  const cores = availableCores()
  const threads = wanted === 'auto' ? Math.min(cores, MOST) : wanted
  return {
    threads,
    unavailable: wanted === 'auto' && threads === 1 ? 'this machine has one core; a number given as `threads` is honoured' : undefined,
  }
}

/** Why only the calling thread is available, and what to do. */
function whyNone(): string | undefined {
  const scope = globalThis as { crossOriginIsolated?: boolean; isSecureContext?: boolean }
  // It may provide node:worker_threads for import only.
  if (requestsAreIsolated() || (typeof Worker !== 'function' && !builtinModule('node:worker_threads'))) {
    return 'this engine starts no workers (edge workers and service workers cannot); there is nothing to do, one thread computes'
  }
  // A page that is not cross-origin isolated can create shared memory but not send it to a worker
  if (scope.crossOriginIsolated === false || typeof SharedArrayBuffer === 'undefined') {
    const origin = scope.isSecureContext === false ? ', over https or from localhost' : ''
    return `this page is not cross-origin isolated: serve it with the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp${origin}`
  }
  return undefined
}

function availableCores(): number {
  const { navigator } = globalThis as { navigator?: { hardwareConcurrency?: number } }
  const os = builtinModule<{ availableParallelism?: () => number }>('node:os')
  return Math.max(1, os?.availableParallelism?.() ?? navigator?.hardwareConcurrency ?? 1)
}

/**
 * Partitions per op. Two threads get two each, so that if the calling thread delays one of them, half of its work goes
 * to the other. With more threads, smaller partitions would split heads.
 */
export function partitionsFor(threads: number): number {
  return threads === 2 ? 4 : threads
}

/** More overlapping dispatches are seldom worthwhile: the serialized sections take up to a quarter of a layer. */
const MAX_WORKER_GROUPS = 4

/** Worker groups for `runs` consecutive dispatches that overlap, each with the same number of threads. */
export function workerGroupsFor(threads: number, runs: number): number {
  let workerGroups = Math.min(MAX_WORKER_GROUPS, threads, runs)
  while (threads % workerGroups > 0) workerGroups--
  return workerGroups
}
