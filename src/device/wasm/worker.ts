import type * as NodeThreads from 'node:worker_threads'
import { builtinModule } from '../../builtin-module.js'
import { workerSource } from './worker-source.js'

/** A worker of either kind: web (browsers, Deno, Bun) or node:worker_threads. */
export interface WorkerHandle {
  post(message: unknown): void
  /** Replaces the listener. */
  onMessage(listener: (message: unknown) => void): void
  /** Called when the worker fails or ends, possibly more than once. */
  onFailure(listener: (cause: unknown) => void): void
  /** Whether the worker keeps the process alive, where that applies. */
  keepAlive(alive: boolean): void
  /** Resolves once it has stopped, as far as can be known. */
  terminate(): Promise<void>
}

/**
 * @param script a hosted copy of `workerSource`, used instead of the text
 * @throws Error saying why this engine, page or policy cannot start a worker
 */
export function startWorker(script?: URL): WorkerHandle {
  // Deno and Bun have both kinds; web workers are native to them.
  const hasBoth = 'Bun' in globalThis || 'Deno' in globalThis
  const threads = hasBoth ? undefined : builtinModule<typeof NodeThreads>('node:worker_threads')
  if (threads) return startNodeWorker(threads, script)
  if (typeof Worker !== 'function') throw new Error('this engine has no Worker')
  return startWebWorker(script)
}

function startNodeWorker({ Worker: NodeWorker }: typeof NodeThreads, script: URL | undefined): WorkerHandle {
  const worker = script
    ? new NodeWorker(script, { name: 'routed-attention' })
    : new NodeWorker(workerSource, { eval: true, name: 'routed-attention' })
  let listen: (message: unknown) => void = () => undefined
  worker.on('message', (message) => listen(message))
  return {
    post: (message) => worker.postMessage(message),
    onMessage: (listener) => (listen = listener),
    onFailure: (listener) => {
      worker.on('error', listener)
      worker.on('exit', (code) => listener(new Error(`it ended with code ${code}`)))
    },
    keepAlive: (alive) => (alive ? worker.ref() : worker.unref()),
    terminate: async () => void (await worker.terminate()),
  }
}

function startWebWorker(script: URL | undefined): WorkerHandle {
  const url = script?.href ?? URL.createObjectURL(new Blob([workerSource], { type: 'text/javascript' }))
  // Deno cannot start classic workers.
  const worker = new Worker(url, { name: 'routed-attention', type: 'module' })
  let fail: (cause: unknown) => void = () => undefined
  worker.onerror = (event) => {
    event.preventDefault()
    fail(new Error(event.message || whyNotStarted(script)))
  }
  worker.onmessageerror = () => fail(new Error('the shared memory could not be sent to it'))
  return {
    post: (message) => worker.postMessage(message),
    onMessage: (listener) =>
      (worker.onmessage = (event) => {
        if (!script) URL.revokeObjectURL(url)
        listener(event.data)
      }),
    onFailure: (listener) => (fail = listener),
    keepAlive: (alive) => {
      const { ref, unref } = worker as { ref?: () => void; unref?: () => void }
      if (alive) ref?.call(worker)
      else unref?.call(worker)
    },
    terminate: async () => worker.terminate(),
  }
}

function whyNotStarted(script: URL | undefined): string {
  if (script)
    return `it could not be started from ${script.href}: serve routed-attention/worker.js there, from the page's own origin, with the headers of the page`
  return "it could not be started from a blob: URL: add blob: to worker-src in the page's Content-Security-Policy, or host routed-attention/worker.js and pass its URL as `worker`"
}
