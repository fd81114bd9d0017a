import type { CallName, Calls, Reply } from './protocol.js'

/** A call that failed in the worker. `code` is that of a RoutedAttentionError, or the name of another error. */
export class EngineError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly aborted: boolean,
  ) {
    super(message)
  }
}

interface Pending {
  readonly name: CallName
  readonly ended: Promise<unknown>
  resolve(result: never): void
  reject(error: EngineError): void
  onEvent(event: never): void
}

/** The worker that owns the model, as functions. */
export class Engine {
  readonly #worker: Worker
  readonly #pending = new Map<number, Pending>()
  #lastId = 0

  constructor(worker: Worker) {
    this.#worker = worker
    worker.addEventListener('message', ({ data }: MessageEvent<Reply>) => this.#settle(data))
    const fail = (): void => {
      const error = new EngineError(
        'WORKER_FAILED',
        'The worker that computes could not start, or ended. Loading the page again may help.',
        false,
      )
      for (const { reject } of this.#pending.values()) reject(error)
      this.#pending.clear()
    }
    worker.addEventListener('error', fail)
    worker.addEventListener('messageerror', fail)
  }

  call<Name extends CallName>(
    name: Name,
    params: Calls[Name]['params'],
    options: { signal?: AbortSignal; onEvent?: (event: Calls[Name]['event']) => void } = {},
  ): Promise<Calls[Name]['result']> {
    const id = ++this.#lastId
    const { signal, onEvent = () => {} } = options
    if (signal?.aborted) return Promise.reject(new EngineError('AbortError', 'It was cancelled.', true))
    const cancel = (): void => this.#worker.postMessage({ cancel: id })
    const { promise: result, resolve, reject } = withResolvers<Calls[Name]['result']>()
    const ended = result.catch(() => {})
    this.#pending.set(id, { name, ended, resolve, reject, onEvent })
    signal?.addEventListener('abort', cancel)
    this.#worker.postMessage({ id, name, params })
    return result.finally(() => signal?.removeEventListener('abort', cancel))
  }

  /** Resolves when the calls of these names that are running now have ended. */
  async settled(...names: CallName[]): Promise<void> {
    await Promise.all([...this.#pending.values()].filter(({ name }) => names.includes(name)).map(({ ended }) => ended))
  }

  #settle(reply: Reply): void {
    const pending = this.#pending.get(reply.id)
    if (!pending) return
    if ('event' in reply) return pending.onEvent(reply.event as never)
    this.#pending.delete(reply.id)
    if ('result' in reply) pending.resolve(reply.result as never)
    else pending.reject(new EngineError(reply.error.code, reply.error.message, reply.error.aborted))
  }
}

function withResolvers<Result>(): { promise: Promise<Result>; resolve(result: Result): void; reject(error: Error): void } {
  let resolve!: (result: Result) => void
  let reject!: (error: Error) => void
  const promise = new Promise<Result>((onResult, onError) => {
    resolve = onResult
    reject = onError
  })
  return { promise, resolve, reject }
}
