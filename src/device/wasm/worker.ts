import { workerSource } from './worker-source.js'

/** A worker of either kind: the web's (browsers, Deno, Bun) or node:worker_threads'. */
export interface WorkerHandle {
  post(message: unknown): void
  /** Replaces the listener. */
  onMessage(listener: (message: unknown) => void): void
  /** Called when the worker fails or ends, more than once perhaps. */
  onFailure(listener: (cause: unknown) => void): void
  /** Whether the process should wait for it; where there is such a thing. */
  keepAlive(alive: boolean): void
  /** Resolves when it runs no more, as far as can be known. */
  terminate(): Promise<void>
}

/** @throws Error saying why this engine, page or policy starts no worker */
export async function startWorker(): Promise<WorkerHandle> {
  const nodeProcess = (globalThis as { process?: NodeJS.Process }).process
  if (nodeProcess?.versions?.node !== undefined && !('Bun' in globalThis) && !('Deno' in globalThis)) return startNodeWorker()
  if (typeof Worker !== 'function') throw new Error('this engine has no Worker')
  return startWebWorker()
}

async function startNodeWorker(): Promise<WorkerHandle> {
  const { Worker: NodeWorker } = await import('node:worker_threads')
  const worker = new NodeWorker(workerSource, { eval: true, name: 'routed-attention' })
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

function startWebWorker(): WorkerHandle {
  const url = URL.createObjectURL(new Blob([workerSource], { type: 'text/javascript' }))
  const worker = new Worker(url, { name: 'routed-attention' })
  let fail: (cause: unknown) => void = () => undefined
  worker.onerror = (event) => {
    event.preventDefault()
    fail(new Error(event.message || 'it could not be started from a blob: URL'))
  }
  worker.onmessageerror = () => fail(new Error('the shared memory could not be sent to it'))
  return {
    post: (message) => worker.postMessage(message),
    onMessage: (listener) =>
      (worker.onmessage = (event) => {
        URL.revokeObjectURL(url)
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
