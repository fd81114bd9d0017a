import { reasonOf, RoutedAttentionError } from '../../errors.js'
import type { Arena, Block } from '../../memory/arena.js'
import { startWorker, type WorkerHandle } from './worker.js'
import { WORKER_VERSION } from './worker-source.js'

/** Words that the pool is told its work in; threads wait on the first. Order and meaning as in `workerSource`. */
enum ControlWord {
  Generation,
  Program,
  Headers,
  HeaderCount,
  HeaderBytes,
  Shares,
  Barrier,
  Quit,
  /** The barrier's three words. */
  BarrierWords,
  /** Threads that have left the work. */
  Left = 11,
  Length,
}

/** Longest that a thread may take to start, in milliseconds; the runtime then does without. */
const START_LIMIT = 10_000

/** Threads that run programs side by side on one memory. The calling thread only waits for their message, its event loop free. */
export class ThreadPool {
  readonly threads: number
  readonly #arena: Arena
  readonly #control: Block
  readonly #workers: WorkerHandle[]
  /** The work that is running: one at a time. */
  #pending: { resolve: () => void; reject: (error: unknown) => void } | undefined
  #failure: RoutedAttentionError | undefined
  #onFailure: ((failure: RoutedAttentionError) => void) | undefined

  private constructor(arena: Arena, control: Block, workers: WorkerHandle[]) {
    this.threads = workers.length
    this.#arena = arena
    this.#control = control
    this.#workers = workers
  }

  /**
   * Starts `threads` workers on the memory of `arena`; `script` is a hosted copy of what they run.
   * @throws whatever kept one of them from starting; none is left running then
   */
  static async start(module: WebAssembly.Module, arena: Arena, threads: number, script?: URL): Promise<ThreadPool> {
    const control = arena.allocate(ControlWord.Length * 4, "the thread pool's control words")
    arena.bytes.fill(0, control.address, control.address + control.byteLength)
    const workers: WorkerHandle[] = []
    try {
      for (let thread = 0; thread < threads; thread++) workers.push(startWorker(script))
      const pool = new ThreadPool(arena, control, workers)
      await pool.#introduce(module)
      return pool
    } catch (error) {
      await terminateAll(workers)
      arena.free(control)
      throw error
    }
  }

  async #introduce(module: WebAssembly.Module): Promise<void> {
    const { memory } = this.#arena
    let timer: ReturnType<typeof setTimeout> | undefined
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`a worker did not start within ${START_LIMIT / 1000} s`)), START_LIMIT)
    })
    const ready = this.#workers.map(
      (worker, thread) =>
        new Promise<void>((resolve, reject) => {
          worker.onMessage((greeting) => {
            if ((greeting as { version?: unknown }).version !== WORKER_VERSION) {
              reject(new Error('the hosted worker file is of another version: copy routed-attention/worker.js anew'))
              return
            }
            worker.onMessage(() => this.#finished())
            resolve()
          })
          worker.onFailure((cause) => {
            reject(cause)
            this.#fail(cause)
          })
          worker.post({ module, memory, control: this.#control.address, thread, threads: this.threads })
        }),
    )
    try {
      await Promise.race([Promise.all(ready), late])
    } finally {
      clearTimeout(timer)
    }
    for (const worker of this.#workers) worker.keepAlive(false)
  }

  /** Called once, when a thread is lost: the pool is of no more use. */
  onFailure(listener: (failure: RoutedAttentionError) => void): void {
    this.#onFailure = listener
  }

  /**
   * Runs a program for each of `headerCount` headers, `headerBytes` apart, all of `shares` shares. One call at a time.
   * @throws RoutedAttentionError `WORKER_FAILED` when a thread is lost meanwhile
   */
  run(program: number, headers: number, headerCount: number, headerBytes: number, shares: number): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure)
    const { ints } = this.#arena
    const control = this.#control.address / 4
    ints[control + ControlWord.Program] = program
    ints[control + ControlWord.Headers] = headers
    ints[control + ControlWord.HeaderCount] = headerCount
    ints[control + ControlWord.HeaderBytes] = headerBytes
    ints[control + ControlWord.Shares] = shares
    ints[control + ControlWord.Barrier] = this.#control.address + ControlWord.BarrierWords * 4
    this.#workers[0]!.keepAlive(true)
    return new Promise((resolve, reject) => {
      this.#pending = { resolve, reject }
      this.#wake()
    })
  }

  #wake(): void {
    const { ints } = this.#arena
    const generation = this.#control.address / 4 + ControlWord.Generation
    Atomics.add(ints, generation, 1)
    Atomics.notify(ints, generation)
  }

  /** The last thread to leave the work says so. */
  #finished(): void {
    const pending = this.#pending
    this.#pending = undefined
    this.#workers[0]!.keepAlive(false)
    pending?.resolve()
  }

  #fail(cause: unknown): void {
    if (this.#failure) return
    this.#failure = new RoutedAttentionError(
      'WORKER_FAILED',
      `a thread of the runtime was lost (${reasonOf(cause)}); this work is undone, and what follows runs on the calling thread`,
      { cause },
    )
    this.#onFailure?.(this.#failure)
    void this.#end(this.#failure).then(() => this.#arena.free(this.#control))
  }

  /** Work that is running fails only when no thread can touch its memory any more. */
  async #end(failure: RoutedAttentionError): Promise<void> {
    const pending = this.#pending
    this.#pending = undefined
    await terminateAll(this.#workers)
    pending?.reject(failure)
  }

  /** Ends the threads; work that is running fails with `DISPOSED`. */
  async dispose(): Promise<void> {
    this.#onFailure = undefined
    this.#failure ??= new RoutedAttentionError('DISPOSED', 'the runtime was disposed')
    this.#arena.ints[this.#control.address / 4 + ControlWord.Quit] = 1
    this.#wake()
    this.#arena.free(this.#control)
    await this.#end(this.#failure)
  }

  /** @internal For tests: a thread dies as if the engine had killed it. */
  loseThread(): void {
    void this.#workers[this.threads - 1]!.terminate()
  }
}

async function terminateAll(workers: readonly WorkerHandle[]): Promise<void> {
  await Promise.all(workers.map((worker) => worker.terminate()))
}
