/**
 * A pool of simulated threads, whose steps come in an order that the test chooses, on the calling thread and a
 * checked build.
 */
import { readFileSync } from 'node:fs'
import { BEGINS_SERIALIZED, ENDS_SERIALIZED, SKIPS_BARRIER } from '../../assembly/ir/flags.js'
import { DispatchHeader } from '../../assembly/ir/header.js'
import { Runtime } from '../../src/device/runtime.js'
import { type Build, openBuild } from '../../src/device/wasm/builds.js'
import type { ThreadPool, Work } from '../../src/device/wasm/thread-pool.js'
import type { WasmDevice } from '../../src/device/wasm/wasm-device.js'

/** Which worker group goes on where several can. */
export type Favourite = 'the first group' | 'the last group'

/**
 * Joined steps of one run, with the ordered parts that go before: it may go as far as `needs` of them are passed by the
 * run before.
 */
interface Group {
  readonly start: number
  readonly end: number
  readonly needs: number
  readonly passes: number
}

/** How often a worker group had to wait for another's ordered part, and how many works were under way together. */
export const seen = { waits: 0, together: 0 }

/**
 * Stands in for threads that drift apart as far as their order lets them: one worker group goes on until it must wait,
 * then another.
 */
export class DriftingPool {
  readonly smallWork = 0
  /** Called before a partition of joined steps is run. */
  beforePartition: () => void = () => undefined
  readonly #queue: { work: Work; resolve: () => void }[] = []

  constructor(
    readonly build: Build,
    readonly threads: number,
    readonly favourite: Favourite,
  ) {}

  /** What is handed over before the event loop turns is under way together. */
  run(work: Work): Promise<void> {
    return new Promise((resolve) => {
      this.#queue.push({ work, resolve })
      if (this.#queue.length > 1) return
      setImmediate(() => {
        const all = this.#queue.splice(0)
        seen.together = Math.max(seen.together, all.length)
        this.#runAll(all.map((entry) => entry.work))
        for (const entry of all) entry.resolve()
      })
    })
  }

  async dispose(): Promise<void> {}

  #runAll(works: readonly Work[]): void {
    const dispatches = works.flatMap(({ program, headers, headerCount, headerBytes, partitions, workerGroups }) =>
      Array.from({ length: headerCount }, (_, i) => ({
        workerGroup: i % workerGroups,
        header: headers + i * headerBytes,
        partitions,
        groups: this.#groups(program),
        done: 0,
        passed: 0,
      })),
    )
    const words = new Int32Array(this.build.memory.buffer)
    const addresses = dispatches.map(({ header }) => header)
    const earlier = dispatches.map(({ header }) => addresses.indexOf(words[header / 4 + DispatchHeader.DependsOn]!))
    // who waits for whom is decided here
    for (const { header } of dispatches) words[header / 4 + DispatchHeader.DependsOn] = 0
    for (;;) {
      const fronts = dispatches.filter(
        (dispatch, i) =>
          dispatch.done < dispatch.groups.length &&
          !dispatches.slice(0, i).some((o) => o.workerGroup === dispatch.workerGroup && o.done < o.groups.length),
      )
      if (fronts.length === 0) return
      const ready = fronts.filter((dispatch) => {
        const before = dispatches[earlier[dispatches.indexOf(dispatch)]!]
        return !before || before.passed >= dispatch.groups[dispatch.done]!.needs
      })
      seen.waits += fronts.length - ready.length
      ready.sort((a, b) => (this.favourite === 'the first group' ? a.workerGroup - b.workerGroup : b.workerGroup - a.workerGroup))
      const dispatch = ready[0]!
      const { start, end, passes } = dispatch.groups[dispatch.done++]!
      const next = words[end]!
      words[end] = 0
      for (let partition = 0; partition < dispatch.partitions; partition++) {
        this.beforePartition()
        this.build.kernels.run(start * 4, dispatch.header, dispatch.partitions, partition, 1, 0, 1)
      }
      words[end] = next
      dispatch.passed += passes
    }
  }

  #groups(program: number): Group[] {
    const words = new Int32Array(this.build.memory.buffer)
    const groups: Group[] = []
    let passed = 0
    for (let at = program / 4; words[at] !== 0;) {
      const start = at
      let needs = 0
      let passes = 0
      for (let joins = true; joins; at += words[at + 1]!) {
        joins = (words[at]! & SKIPS_BARRIER) > 0
        if (words[at]! & BEGINS_SERIALIZED) needs = passed + 1
        if (words[at]! & ENDS_SERIALIZED) passes++
      }
      groups.push({ start, end: at, needs, passes })
      passed += passes
    }
    return groups
  }
}

export function openDriftingRuntime(threads: number, favourite: Favourite): { runtime: Runtime; pool: DriftingPool } {
  const module = new WebAssembly.Module(readFileSync(new URL('../../build/checked-relaxed.wasm', import.meta.url)))
  const build = openBuild('relaxed', module)
  const runtime = new Runtime(build, {}, threads)
  const pool = new DriftingPool(build, threads, favourite)
  ;(runtime.device as WasmDevice).usePool(pool as unknown as ThreadPool)
  return { runtime, pool }
}
