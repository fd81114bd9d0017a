import { WORKSPACE_BYTES } from '../../../assembly/ir/sizes.js'
import type { Interrupt } from '../../interrupt.js'
import type { Mutex } from '../../mutex.js'
import type { Dispatch } from '../device.js'
import { workerGroupsFor } from './choose-threads.js'
import type { ThreadPool } from './thread-pool.js'
import type { WasmProgram } from './wasm-buffer.js'
import { HEADER_BYTES } from './write-header.js'

/** Maximum dispatches submitted to the pool at once: enough that its threads seldom wait for the caller. */
export const SUBMISSION_SIZE = 8
/**
 * Number of submissions with separate headers. At most two are pending, but the second refers to the last header of the
 * first until it is done, so the third must not overwrite it.
 */
const SUBMISSIONS = 3
/** Number of headers that the pool's dispatches need. */
export const POOL_HEADERS = SUBMISSIONS * SUBMISSION_SIZE

/** What a device lends for dispatches on its pool. */
export interface PoolHost {
  readonly mutex: Mutex
  readonly partitions: number
  /** Address of `POOL_HEADERS` headers. */
  readonly headers: number
  /** Address of the workspaces of each worker group's partitions. */
  workspaces(): number
  writeHeader(address: number, dispatch: Dispatch, workspace: number, earlier: number): void
  /** Sets the word that cancels all dispatches of the pool. */
  setStop(value: 0 | 1): void
  /** @throws RoutedAttentionError `DISPOSED` */
  assertUsable(): void
}

/** Submits dispatches to a pool of threads, several at a time, so that its threads seldom wait for the caller. */
export class PoolSubmitter {
  readonly #host: PoolHost
  /** Dispatches for the pool, with their headers' addresses once submitted; 0 until then. */
  readonly #underWay = new Map<Dispatch, number>()
  readonly #handedOver = new Set<Promise<void>>()
  #submissions = 0
  /** Number of worker groups used by pending dispatches. */
  #groupsInUse = 1

  constructor(host: PoolHost) {
    this.#host = host
  }

  /** Whether a dispatch's predecessor has not finished. */
  mustWait({ dependsOn }: Dispatch): boolean {
    return dependsOn !== undefined && this.#underWay.has(dependsOn)
  }

  /** Header address of a dispatch's predecessor, if it is pending. */
  #earlierHeader({ dependsOn }: Dispatch): number {
    return (dependsOn && this.#underWay.get(dependsOn)) ?? 0
  }

  /** A call that continues pending work joins it under the same lock, unless other calls are waiting. */
  run(pool: ThreadPool, program: WasmProgram, dispatches: readonly Dispatch[], interrupt: Interrupt | undefined): Promise<void> {
    const joins = this.#earlierHeader(dispatches[0]!) > 0 && !this.#host.mutex.hasWaiters
    for (const dispatch of dispatches) this.#underWay.set(dispatch, 0)
    if (joins) return this.#handOver(pool, program, dispatches, interrupt)
    return new Promise((resolve, reject) => {
      const running = this.#host.mutex.runExclusive(async () => {
        this.#handOver(pool, program, dispatches, interrupt).then(resolve, reject)
        while (this.#handedOver.size > 0) await Promise.allSettled(this.#handedOver)
        this.#host.setStop(0)
      }, interrupt)
      running.catch((reason: unknown) => {
        for (const dispatch of dispatches) this.#underWay.delete(dispatch)
        reject(reason)
      })
    })
  }

  #handOver(pool: ThreadPool, program: WasmProgram, dispatches: readonly Dispatch[], interrupt: Interrupt | undefined): Promise<void> {
    const done = this.#runSubmissions(pool, program, dispatches, interrupt)
    this.#handedOver.add(done)
    const forget = () => this.#handedOver.delete(done)
    done.then(forget, forget)
    return done
  }

  async #runSubmissions(
    pool: ThreadPool,
    { buffer }: WasmProgram,
    dispatches: readonly Dispatch[],
    interrupt: Interrupt | undefined,
  ): Promise<void> {
    const host = this.#host
    // everything submitted at this point belongs to this call
    const forget = interrupt?.listen(() => host.setStop(1))
    try {
      for (let start = 0; start < dispatches.length; start += SUBMISSION_SIZE) {
        host.assertUsable()
        interrupt?.check()
        const submission = dispatches.slice(start, start + SUBMISSION_SIZE)
        // A thread may reach these dispatches while others are still at the previous ones; it must not run into them in
        // another worker group's memory
        if (this.#earlierHeader(submission[0]!) === 0) {
          const isOrdered = submission.every((dispatch, i) => i === 0 || dispatch.dependsOn === submission[i - 1])
          this.#groupsInUse = isOrdered
            ? workerGroupsFor(pool.threads, 1 + Math.max(...submission.map(({ workerGroup }) => workerGroup)))
            : 1
        }
        const workerGroups = this.#groupsInUse
        const headers = host.headers + SUBMISSION_SIZE * (this.#submissions++ % SUBMISSIONS) * HEADER_BYTES
        submission.forEach((dispatch, i) => {
          const workspace = host.workspaces() + (i % workerGroups) * host.partitions * WORKSPACE_BYTES
          host.writeHeader(headers + i * HEADER_BYTES, dispatch, workspace, this.#earlierHeader(dispatch))
          this.#underWay.set(dispatch, headers + i * HEADER_BYTES)
        })
        // A single thread per group needs no partitions
        const partitions = workerGroups === pool.threads ? 1 : host.partitions
        await pool.run({
          program: buffer.address,
          headers,
          headerCount: submission.length,
          headerBytes: HEADER_BYTES,
          partitions,
          workerGroups,
        })
      }
      interrupt?.check()
    } finally {
      forget?.()
      for (const dispatch of dispatches) this.#underWay.delete(dispatch)
    }
  }
}
