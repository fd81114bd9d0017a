/* What the suites are written with: plain JavaScript, as no test framework runs everywhere that they do. */

/** @param {unknown} condition @param {string} message @returns {asserts condition} */
export function check(condition, message) {
  if (!condition) throw new Error(message)
}

/** @param {unknown} actual @param {unknown} expected @param {string} what */
export function equal(actual, expected, what) {
  const [got, wanted] = [actual, expected].map((value) =>
    JSON.stringify(ArrayBuffer.isView(value) ? [.../** @type {any} */ (value)] : value),
  )
  check(got === wanted, `${what}: expected ${brief(wanted)}, got ${brief(got)}`)
}

/**
 * @param {ArrayLike<number>} actual
 * @param {ArrayLike<number>} expected
 * @param {number} tolerance
 * @param {string} what
 */
export function near(actual, expected, tolerance, what) {
  equal(actual.length, expected.length, `${what}: length`)
  check(expected.length > 0, `${what}: nothing was compared`)
  for (let i = 0; i < expected.length; i++)
    check(
      Math.abs((actual[i] ?? NaN) - (expected[i] ?? NaN)) <= tolerance,
      `${what}: value ${i} is ${actual[i]}, expected ${expected[i]} within ${tolerance}`,
    )
}

/** @param {Promise<unknown>} promise @param {string} code @param {RegExp} message */
export async function rejects(promise, code, message) {
  const error = await promise.then(
    () => undefined,
    (/** @type {any} */ reason) => reason,
  )
  check(error, `expected ${code}, but it succeeded`)
  check(error.code === code && message.test(error.message), `expected ${code} ${message}, got ${error.code} ${error.message}`)
}

/**
 * Runs statements in their order; one that fails does not keep the others from running.
 * @param {[string, () => Promise<unknown>][]} statements
 */
export async function run(statements) {
  /** @type {{ name: string, error?: string }[]} */
  const results = []
  for (const [name, statement] of statements) {
    try {
      await statement()
      results.push({ name })
    } catch (error) {
      results.push({ name, error: error instanceof Error ? `${error.message}\n${error.stack ?? ''}` : String(error) })
    }
  }
  return results
}

const brief = (/** @type {string | undefined} */ text = 'nothing') => (text.length > 300 ? `${text.slice(0, 300)}…` : text)
