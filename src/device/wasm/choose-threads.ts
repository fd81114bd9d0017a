/** More threads than this gain nothing on the pieces that a forward is cut into, unless they are asked for. */
const MOST = 8

/** How many threads to compute on, and why not on more. */
export interface ThreadChoice {
  readonly threads: number
  readonly refused: string | undefined
}

/** A number is honoured beyond the processor's cores; 'auto' takes one thread for each, up to 8. */
export function chooseThreads(wanted: number | 'auto'): ThreadChoice {
  if (wanted === 1) return { threads: 1, refused: undefined }
  // a page that is not isolated can make a shared memory, but not send it to a worker
  if ((globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated === false || typeof SharedArrayBuffer === 'undefined') {
    return {
      threads: 1,
      refused:
        'this page is not cross-origin isolated: serve it with the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp',
    }
  }
  const cores = availableCores()
  const threads = wanted === 'auto' ? Math.min(cores, MOST) : wanted
  return { threads, refused: wanted === 'auto' && threads === 1 ? 'this machine has one core' : undefined }
}

function availableCores(): number {
  const { process, navigator } = globalThis as { process?: NodeJS.Process; navigator?: { hardwareConcurrency?: number } }
  const os = process?.getBuiltinModule?.('node:os') as { availableParallelism?: () => number } | undefined
  return Math.max(1, os?.availableParallelism?.() ?? navigator?.hardwareConcurrency ?? 1)
}
