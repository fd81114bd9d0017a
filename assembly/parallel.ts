import { DispatchHeader } from './ops'

/*
 * Partitions, the barrier, the order of dispatches, and their end before the end. An op is cut into `partitions`,
 * between outputs and never inside a sum, so neither how many there are nor who runs which leaves a trace in the
 * result.
 */

/** First of `total` items that belong to a partition; the next partition's first ends it. */
// @ts-ignore: decorator
@inline
export function partitionStart(total: i32, partition: i32, partitions: i32): i32 {
  return <i32>((<i64>total * partition) / partitions)
}

/**
 * How often a waiting thread looks before it sleeps: about 100 µs. A virtual machine takes some 50 µs to wake it, so
 * that it slept and woke at nearly every barrier when it looked for 20 µs; longer spins starve the others where cores
 * are shared.
 */
const SPINS: i32 = 20000

/**
 * Waits until all `threads` have come. `barrier` is three zeroed words, [arrived, generation, taken]; the last to
 * arrive resets the first and the third and opens the second, so the words serve again at once.
 */
export function meet(barrier: usize, threads: i32): void {
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
 * A partition that nobody has taken since the last barrier, or -1: from the front for the thread whose partitions were
 * the first, from the back for the others, so that of two threads each mostly meets the heads that its core has in the
 * cache. How many are gone from the front lies in the lower half of the third word, how many from the back in the
 * upper.
 */
export function takePartition(barrier: usize, first: i32, partitions: i32): i32 {
  const taken = atomic.add<i32>(barrier, first == 0 ? 1 : 0x10000, 8)
  const front = taken & 0xffff
  const back = taken >>> 16
  if (front + back >= partitions) return -1
  return first == 0 ? front : partitions - 1 - back
}

/**
 * Waits until the dispatch before this chunk's, if that may be at work, is through with so many ordered parts of the
 * program.
 */
export function waitForPredecessor(header: usize, parts: i32): void {
  const earlier = <usize>load<i32>(header + (DispatchHeader.DependsOn << 2))
  if (earlier == 0) return
  const passed = earlier + (DispatchHeader.SectionsLeft << 2)
  for (let spins = SPINS; spins > 0; --spins) {
    if (atomic.load<i32>(passed) >= parts) return
  }
  for (let seen = atomic.load<i32>(passed); seen < parts; seen = atomic.load<i32>(passed)) atomic.wait<i32>(passed, seen, -1)
}

/** Tells the dispatch behind this chunk's how many ordered parts this one is through with. */
export function signalStage(header: usize, parts: i32): void {
  const passed = header + (DispatchHeader.SectionsLeft << 2)
  atomic.store<i32>(passed, parts)
  atomic.notify(passed, -1)
}

/**
 * Whether nobody wants any more what this dispatch computes. It is walked through to its end all the same, so that
 * barriers and ordered parts are left as they always are, but computes nothing: whoever meets a thread that has seen
 * this sees it too, and reads nothing that was not computed.
 */
export function isStopped(header: usize): bool {
  const stop = <usize>load<i32>(header + (DispatchHeader.Stop << 2))
  return stop != 0 && atomic.load<i32>(stop) != 0
}
