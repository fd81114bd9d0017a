/**
 * Timing limits in milliseconds, once per process: at least the first; then until no kernel has improved for the second;
 * at most the third. Engines reach full speed within 6 ms (V8 13 and later) to 25 ms (Deno, Bun), 17 ms on a slow
 * processor and longer on a busy one; choosing earlier would compare their baseline compilers.
 */
const AT_LEAST = 20
const SETTLED = 10
const AT_MOST = 80
/**
 * A kernel this many times slower than the fastest is still in the baseline compiler, which is five times slower;
 * compiled, none is slower than 2.3 times.
 */
const UNCOMPILED = 3
/** An improvement by this factor means that the engine recompiled; less may be timer noise. */
const FASTER = 0.93
/** A kernel must beat the default by this factor, so that noise alone changes nothing. */
const GAIN = 0.98
/** Timer resolution in milliseconds above which a call of about 0.2 ms cannot be timed to a few percent. */
const COARSE = 0.025
/** Number of equal readings after which a clock is considered stopped. */
const READINGS = 10_000

/** A kernel and, if it was not timed, why. */
export interface TimedChoice<T> {
  readonly choice: T
  readonly unavailable: string | undefined
}

/**
 * Chooses the fastest of several kernels that do the same, by a few milliseconds of timing.
 * @param preferred one of them, taken unless another is clearly faster
 * @param run runs a kernel once, for about 0.2 ms
 * @param now clock in milliseconds; if it does not advance during computation (deployed edge workers) or is too coarse,
 * nothing is timed
 */
export function chooseFastest<T>(kernels: readonly T[], preferred: T, run: (kernel: T) => void, now: () => number): TimedChoice<T> {
  const tick = tickOf(now)
  if (tick > COARSE) {
    const why = tick === Infinity ? 'does not advance while this engine computes' : `ticks only every ${tick.toFixed(2)} ms`
    return { choice: preferred, unavailable: `the clock ${why}, so default kernels are used without timing` }
  }
  const best = new Map(kernels.map((kernel) => [kernel, Infinity]))
  const start = now()
  let time = start
  let changed = start
  const isCompiled = () => Math.max(...best.values()) < UNCOMPILED * Math.min(...best.values())
  while (time - start < AT_LEAST || (time - start < AT_MOST && (time - changed < SETTLED || !isCompiled()))) {
    // interleaved, so that a slow phase of the machine affects all kernels
    for (const kernel of kernels) {
      run(kernel)
      const end = now()
      const before = best.get(kernel)!
      if (end - time < FASTER * before) changed = end
      best.set(kernel, Math.min(before, end - time))
      time = end
    }
  }
  const fastest = kernels.reduce((a, b) => (best.get(b)! < best.get(a)! ? b : a))
  return { choice: best.get(fastest)! < GAIN * best.get(preferred)! ? fastest : preferred, unavailable: undefined }
}

/** The clock's smallest step in milliseconds; Infinity if it does not advance. */
function tickOf(now: () => number): number {
  const start = now()
  for (let reading = 0; reading < READINGS; reading++) {
    const passed = now() - start
    if (passed > 0) return passed
  }
  return Infinity
}
