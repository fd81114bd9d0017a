import { reasonOf, RoutedAttentionError } from '../../errors.js'
import type { Arena, Block } from '../../memory/arena.js'
import { startWorker, type WorkerHandle } from './worker.js'
import { BARRIER_WORDS, ControlWord, WORKER_VERSION, WorkWord } from './worker-source.js'

/** What threads run: a program for each of `headerCount` headers, `headerBytes` apart. */
export interface Work {
  readonly program: number
  readonly headers: number
  readonly headerCount: number
  readonly headerBytes: number
  /** Partitions that each op is cut into. */
  readonly partitions: number
  /** The threads form this many worker groups of equal size; group i modulo `workerGroups` runs header i. */
  readonly workerGroups: number
}

/**
 * Work below this stays on the calling thread: about a millisecond of one core, at most. Waking threads costs some 0.1
 * ms, and where cores are shared an op that waits for a neighbour costs far more (one token of a ten-million-parameter
 * model, two threads on two busy cores: half the speed of one).
 */
const SMALL_WORK = 5e7

/** Longest that a thread may take to start, in milliseconds; the runtime then does without. */
const START_LIMIT = 10_000

/**
 * Threads that run programs side by side on one memory. The calling thread only waits for their message, its event loop
 * free. It may hand over a work while they are at the one before, which none of them then waits for.
 */
export class ThreadPool {
  readonly threads: number
  /** Work below this, in operations, is better done on the calling thread. */
  readonly smallWork = SMALL_WORK
  readonly #arena: Arena
  readonly #control: Block
  readonly #workers: WorkerHandle[] = []
  /** Works under way, by their number: two at most. */
  readonly #pending = new Map<number, { resolve: () => void; reject: (error: unknown) => void }>()
  /** Why there is no more work done here, if so. */
  #failure: RoutedAttentionError | undefined
  /** From then on: resolves when no thread runs any more. */
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
   * Starts `threads` workers on the memory of `arena`; `script` is a hosted copy of what they run.
   * @throws whatever kept one of them from starting; none is left running then
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
              reject(new Error('the hosted worker file is of another version: copy routed-attention/worker.js anew'))
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

  /** Called once, when a thread is lost: the pool is of no more use. */
  onFailure(listener: (failure: RoutedAttentionError) => void): void {
    this.#onFailure = listener
  }

  /**
   * Two calls at a time, at most.
   * @throws RoutedAttentionError `WORKER_FAILED` when a thread is lost meanwhile
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

  /** The last thread to leave a work says so. */
  #finished(work: number): void {
    const pending = this.#pending.get(work)
    this.#pending.delete(work)
    // threads that are being ended keep the process alive until somebody was told that they have
    if (this.#pending.size === 0 && !this.#ended) this.#workers[0]!.keepAlive(false)
    pending?.resolve()
  }

  #fail(cause: unknown): void {
    if (this.#failure) return
    const failure = new RoutedAttentionError(
      'WORKER_FAILED',
      `a thread of the runtime was lost (${reasonOf(cause)}); this work is undone, and what follows runs on the calling thread`,
      { cause },
    )
    this.#failure = failure
    this.#onFailure?.(failure)
    void this.#end(failure).then(() => this.#arena.free(this.#control))
  }

  /** Work that is running fails only when no thread can touch its memory any more. */
  #end(failure: RoutedAttentionError): Promise<void> {
    return (this.#ended ??= (async () => {
      const pending = [...this.#pending.values()]
      this.#pending.clear()
      await Promise.all(this.#workers.map((worker) => worker.terminate()))
      for (const { reject } of pending) reject(failure)
    })())
  }

  /**
   * Ends the threads; work that is running fails with `DISPOSED`. Resolves when none of them runs any more, also where
   * a lost one had ended the others.
   */
  dispose(): Promise<void> {
    this.#onFailure = undefined
    if (!this.#failure) {
      this.#failure = new RoutedAttentionError('DISPOSED', 'the runtime was disposed')
      this.#arena.ints[this.#control.address / 4 + ControlWord.Quit] = 1
      this.#wake()
      this.#arena.free(this.#control) // which nobody is given any more
    }
    return this.#end(this.#failure)
  }

  /** @internal For tests: a thread dies as if the engine had killed it. */
  loseThread(): void {
    void this.#workers[this.threads - 1]!.terminate()
  }
}
