/*
 * Shares and the barrier. A step is cut into `shares`, between outputs and never inside a sum, so how many there are leaves no trace in the result;
 * a thread runs a contiguous range of them.
 */

/** First of `total` items that belong to a share; the next share's first ends it. */
// @ts-ignore: decorator
@inline
export function shareStart(total: i32, share: i32, shares: i32): i32 {
  return <i32>((<i64>total * share) / shares)
}

/**
 * How often a waiting thread looks before it sleeps: about 100 µs. A virtual machine takes some 50 µs to wake it, so that it slept and woke at nearly
 * every barrier when it looked for 20 µs; longer spins starve the others where cores are shared.
 */
const SPINS: i32 = 20000

/**
 * Waits until all `threads` have come. `barrier` is two zeroed words, [arrived, generation]; the last to arrive resets the first and opens the
 * second, so the words serve again at once.
 */
export function meet(barrier: usize, threads: i32): void {
  const generation = atomic.load<i32>(barrier, 4)
  if (atomic.add<i32>(barrier, 1) == threads - 1) {
    atomic.store<i32>(barrier, 0)
    atomic.add<i32>(barrier, 1, 4)
    atomic.notify(barrier + 4, -1)
    return
  }
  for (let spins = SPINS; spins > 0; --spins) {
    if (atomic.load<i32>(barrier, 4) != generation) return
  }
  while (atomic.load<i32>(barrier, 4) == generation) atomic.wait<i32>(barrier + 4, generation, -1)
}
