import { builtinModule } from '../../builtin-module.js'

/** More threads than this gain nothing on the chunks that a forward is cut into, unless they are asked for. */
const MOST = 8

/** How many threads to compute on, and why not on more. */
export interface ThreadChoice {
  readonly threads: number
  readonly unavailable: string | undefined
}

/** A number is honoured beyond the processor's cores; 'auto' takes one thread for each, up to 8. */
export function chooseThreads(wanted: number | 'auto'): ThreadChoice {
  if (wanted === 1) return { threads: 1, unavailable: undefined }
  const unavailable = whyNone()
  if (unavailable) return { threads: 1, unavailable }
  const cores = availableCores()
  const threads = wanted === 'auto' ? Math.min(cores, MOST) : wanted
  return {
    threads,
    unavailable: wanted === 'auto' && threads === 1 ? 'this machine has one core; a number given as `threads` is honoured' : undefined,
  }
}

/** Why nothing but the calling thread can be had here, and what to do. */
function whyNone(): string | undefined {
  const scope = globalThis as { crossOriginIsolated?: boolean; isSecureContext?: boolean; navigator?: { userAgent?: string } }
  // It may have node:worker_threads, to be imported but not to be used.
  if (scope.navigator?.userAgent === 'Cloudflare-Workers' || (typeof Worker !== 'function' && !builtinModule('node:worker_threads'))) {
    return 'this engine starts no workers (edge workers and service workers cannot); there is nothing to do, one thread computes'
  }
  // a page that is not isolated can make a shared memory, but not send it to a worker
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
 * Partitions that ops are cut into: of two threads each has two, so that one that the calling thread holds up leaves
 * half of its work to the other. With more threads, more partitions would no longer be whole heads.
 */
export function partitionsFor(threads: number): number {
  return threads === 2 ? 4 : threads
}

/**
 * More dispatches than this are seldom worth having at work side by side: what each does in its turn is up to a quarter
 * of a layer.
 */
const MOST_WORKER_GROUPS = 4

/** Runs that are at work side by side, of `runs` in a row: each by as many of the threads as the others. */
export function workerGroupsFor(threads: number, runs: number): number {
  let workerGroups = Math.min(MOST_WORKER_GROUPS, threads, runs)
  while (threads % workerGroups > 0) workerGroups--
  return workerGroups
}
