/** After so many milliseconds without an answer a runner has failed. */
const PATIENCE = 180_000

type Message = { ready: true } | { result: unknown } | { error: string }

/** A worker that runs one of the compared programs: it executes calls and otherwise waits. */
export class WorkerRunner {
  readonly #worker: Worker
  readonly #ready: Promise<unknown>
  #answer: { resolve(result: unknown): void; reject(error: Error): void } | undefined
  #ended: Error | undefined

  /** @param script a file of bench/pages, without its extension */
  constructor(script: string) {
    this.#worker = new Worker(new URL(`./bench/pages/worker.mjs?${script}`, document.baseURI), { type: 'module' })
    this.#worker.addEventListener('message', ({ data }: MessageEvent<Message>) => {
      if ('error' in data) this.#answer?.reject(new Error(data.error))
      else this.#answer?.resolve('result' in data ? data.result : undefined)
    })
    this.#worker.addEventListener('error', (event) => {
      event.preventDefault()
      this.close(new Error(event.message || 'its worker could not start'))
    })
    this.#ready = this.#next()
    this.#ready.catch(() => {})
  }

  /** Calls a function of the script; one at a time. */
  async call(method: string, ...args: unknown[]): Promise<unknown> {
    await this.#ready
    const answer = this.#next()
    this.#worker.postMessage({ method, args })
    return answer
  }

  /** Ends the worker, and those that it started. @param reason why a call that is running fails */
  close(reason = new Error('it was ended')): void {
    this.#ended ??= reason
    this.#worker.terminate()
    this.#answer?.reject(this.#ended)
  }

  #next(): Promise<unknown> {
    if (this.#ended) return Promise.reject(this.#ended)
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => this.close(new Error(`no answer within ${PATIENCE / 60_000} minutes`)), PATIENCE)
      const settle =
        <Value>(then: (value: Value) => void) =>
        (value: Value) => {
          clearTimeout(late)
          this.#answer = undefined
          then(value)
        }
      this.#answer = { resolve: settle(resolve), reject: settle(reject) }
    })
  }
}
