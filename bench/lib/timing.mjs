// @ts-check
/* Works in Node and in a page. */

/**
 * Seconds of one call, from as many calls as fill `seconds`, at least one.
 * @param {() => unknown} run may return a promise
 * @param {number} seconds
 */
export async function secondsEach(run, seconds) {
  let calls = 0
  const start = performance.now()
  let end = start
  do {
    const pending = run()
    if (pending instanceof Promise) await pending
    calls++
    end = performance.now()
  } while (end - start < seconds * 1000)
  return (end - start) / calls / 1000
}
