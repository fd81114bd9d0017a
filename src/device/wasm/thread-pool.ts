import { reasonOf, RoutedAttentionError } from '../../errors.js'
import type { Arena, Block } from '../../memory/arena.js'
import { startWorker, type WorkerHandle } from './worker.js'
import { BARRIER_WORDS, ControlWord, WORKER_VERSION, WorkWord } from './worker-source.js'

/** A task for the threads: run a program for each of `headerCount` headers, `headerBytes` apart. */
export interface Work {
  readonly program: number
  readonly headers: number
  readonly headerCount: number
  readonly headerBytes: number
  /** Partitions per op. */
  readonly partitions: number
  /** Number of equal-sized worker groups; group i modulo `workerGroups` runs header i. */
  readonly workerGroups: number
}

/**
 * Work below this stays on the calling thread: at most about a millisecond of one core. Waking threads costs about 0.1
 * ms, and on shared cores an op that waits for a neighbour costs far more (one token of a ten-million-parameter model
 * with two threads on two busy cores ran at half the speed of one thread).
 */
const SMALL_WORK = 5e7

/**
 * Maximum time for a thread to start, in milliseconds; after that the runtime does without. A worker that cannot start says
 * so at once as a rule, and a machine that stalls for 10 s should not compute on one thread ever after.
 */
const START_LIMIT = 30_000

/**
 * A pool of threads that run programs on one memory. The calling thread only waits for their message, with its event
 * loop free. It may submit the next task while one is running; the threads then start it without idling.
 */
export class ThreadPool {
  readonly threads: number
  /** Work below this number of operations is better done on the calling thread. */
  readonly smallWork = SMALL_WORK
  readonly #arena: Arena
  readonly #control: Block
  readonly #workers: WorkerHandle[] = []
  /** Pending tasks by number: at most two. */
  readonly #pending = new Map<number, { resolve: () => void; reject: (error: unknown) => void }>()
  /** Why the pool no longer works, if so. */
  #failure: RoutedAttentionError | undefined
  /** Set on failure or disposal; resolves once no thread is running. */
  #ended: Promise<void> | undefined
  #onFailure: ((failure: RoutedAttentionError) => void) | undefined

  private constructor(arena: Arena, threads: number) {
    this.threads = threads
    this.#arena = arena
    this.#control = arena.allocate((ControlWord.Barriers + threads * BARRIER_WORDS) * 4, "the thread pool's control words")
    const { address, byteLength } = this.#control
    arena.bytes.fill(0, address, address + byteLength)
  }

  /**
   * Starts `threads` workers on the memory of `arena`; `script` is a hosted copy of the worker's code.
   * @throws the reason, if one of them fails to start; the others have been stopped by then
   */
  static async start(module: WebAssembly.Module, arena: Arena, threads: number, script?: URL): Promise<ThreadPool> {
    const pool = new ThreadPool(arena, threads)
    try {
      for (let thread = 0; thread < threads; thread++) pool.#workers.push(startWorker(script))
      await pool.#introduce(module)
      return pool
    } catch (error) {
      await pool.dispose()
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
              reject(new Error('the hosted worker file is of another version: copy routed-attention/worker.js again'))
              return
            }
            worker.onMessage((work) => this.#finished(work as number))
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

  /** Calls the listener once, when a thread is lost and the pool becomes unusable. */
  onFailure(listener: (failure: RoutedAttentionError) => void): void {
    this.#onFailure = listener
  }

  /**
   * At most two calls may be pending.
   * @throws RoutedAttentionError `WORKER_FAILED` if a thread is lost meanwhile
   */
  run(work: Work): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure)
    const { ints } = this.#arena
    const control = this.#control.address / 4
    const number = (ints[control + ControlWord.Generation]! + 1) | 0
    const at = control + ControlWord.Works + (number & 1) * WorkWord.Length
    ints[at + WorkWord.Program] = work.program
    ints[at + WorkWord.Headers] = work.headers
    ints[at + WorkWord.HeaderCount] = work.headerCount
    ints[at + WorkWord.HeaderBytes] = work.headerBytes
    ints[at + WorkWord.Partitions] = work.partitions
    ints[at + WorkWord.WorkerGroups] = work.workerGroups
    this.#workers[0]!.keepAlive(true)
    return new Promise((resolve, reject) => {
      this.#pending.set(number, { resolve, reject })
      this.#wake()
    })
  }

  #wake(): void {
    const { ints } = this.#arena
    const generation = this.#control.address / 4 + ControlWord.Generation
    Atomics.add(ints, generation, 1)
    Atomics.notify(ints, generation)
  }

  /** Called by the last thread to leave a task. */
  #finished(work: number): void {
    const pending = this.#pending.get(work)
    this.#pending.delete(work)
    // terminating threads keep the process alive until their end has been reported
    if (this.#pending.size === 0 && !this.#ended) this.#workers[0]!.keepAlive(false)
    pending?.resolve()
  }

  #fail(cause: unknown): void {
    if (this.#failure) return
    const failure = new RoutedAttentionError(
      'WORKER_FAILED',
      `a thread of the runtime was lost (${reasonOf(cause)}); this call's work was discarded, and later calls run on the calling thread`,
      { cause },
    )
    this.#failure = failure
    this.#onFailure?.(failure)
    void this.#end(failure).then(() => this.#arena.free(this.#control))
  }

  /** Pending tasks reject only once no thread can touch their memory. */
  #end(failure: RoutedAttentionError): Promise<void> {
    return (this.#ended ??= (async () => {
      const pending = [...this.#pending.values()]
      this.#pending.clear()
      await Promise.all(this.#workers.map((worker) => worker.terminate()))
      for (const { reject } of pending) reject(failure)
    })())
  }

  /**
   * Ends the threads; pending tasks reject with `DISPOSED`. Resolves once none of them is running, even if the loss of
   * a thread had already ended the others.
   */
  dispose(): Promise<void> {
    this.#onFailure = undefined
    if (!this.#failure) {
      this.#failure = new RoutedAttentionError('DISPOSED', 'the runtime was disposed')
      this.#arena.ints[this.#control.address / 4 + ControlWord.Quit] = 1
      this.#wake()
      this.#arena.free(this.#control) // no further task uses it
    }
    return this.#end(this.#failure)
  }

  /** @internal For tests: kills a thread as the engine might. */
  loseThread(): void {
    void this.#workers[this.threads - 1]!.terminate()
  }
}
