import { DispatchHeader } from './ir/header'

/*
 * Partitions, the barrier, the order of dispatches, and cancellation. An op is split into `partitions` between outputs,
 * never inside a sum, so neither their number nor the thread that runs each affects the result.
 */

/** Index of the first of `total` items in a partition; the next partition's first ends it. */
// @ts-ignore: decorator
@inline
export function partitionStart(total: i32, partition: i32, partitions: i32): i32 {
  return <i32>((<i64>total * partition) / partitions)
}

/**
 * Number of polls before a waiting thread sleeps: about 100 µs. Waking takes some 50 µs in a virtual machine, so with
 * 20 µs threads slept at nearly every barrier; longer spins starve the others on shared cores.
 */
const SPINS: i32 = 20000

/**
 * Waits until all `threads` have arrived. `barrier` is three zeroed words, [arrived, generation, taken]; the last to
 * arrive resets the first and third and increments the second, so the words can be reused immediately.
 */
export function waitAtBarrier(barrier: usize, threads: i32): void {
  const generation = atomic.load<i32>(barrier, 4)
  if (atomic.add<i32>(barrier, 1) == threads - 1) {
    atomic.store<i32>(barrier, 0)
    atomic.store<i32>(barrier, 0, 8)
    atomic.add<i32>(barrier, 1, 4)
    atomic.notify(barrier + 4, -1)
    return
  }
  for (let spins = SPINS; spins > 0; --spins) {
    if (atomic.load<i32>(barrier, 4) != generation) return
  }
  while (atomic.load<i32>(barrier, 4) == generation) atomic.wait<i32>(barrier + 4, generation, -1)
}

/**
 * Takes a partition not yet taken since the last barrier; -1 if there is none. The thread whose partitions come first
 * takes from the front and the others from the back, so that of two threads each mostly gets the heads in its core's
 * cache. The lower half of the third word counts those taken from the front, the upper half those from the back.
 */
export function takePartition(barrier: usize, first: i32, partitions: i32): i32 {
  const taken = atomic.add<i32>(barrier, first == 0 ? 1 : 0x10000, 8)
  const front = taken & 0xffff
  const back = taken >>> 16
  if (front + back >= partitions) return -1
  return first == 0 ? front : partitions - 1 - back
}

/**
 * Waits until the preceding dispatch, if it may still be running, has left this many serialized sections of the
 * program.
 */
export function waitForPredecessor(header: usize, sections: i32): void {
  const earlier = <usize>load<i32>(header + (DispatchHeader.DependsOn << 2))
  if (earlier == 0) return
  const passed = earlier + (DispatchHeader.SectionsLeft << 2)
  for (let spins = SPINS; spins > 0; --spins) {
    if (atomic.load<i32>(passed) >= sections) return
  }
  for (let seen = atomic.load<i32>(passed); seen < sections; seen = atomic.load<i32>(passed)) atomic.wait<i32>(passed, seen, -1)
}

/** Signals to the next dispatch how many serialized sections this one has left. */
export function signalSectionsLeft(header: usize, sections: i32): void {
  const passed = header + (DispatchHeader.SectionsLeft << 2)
  atomic.store<i32>(passed, sections)
  atomic.notify(passed, -1)
}

/**
 * Whether this dispatch was cancelled. The program is still walked to its end, so that barriers and serialized sections
 * are left in their usual state, but nothing is computed. A thread that synchronises with one that has seen this sees
 * it too, and thus reads nothing that was not computed.
 */
export function isStopped(header: usize): bool {
  const stop = <usize>load<i32>(header + (DispatchHeader.Stop << 2))
  return stop != 0 && atomic.load<i32>(stop) != 0
}
