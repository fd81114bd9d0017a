/*
 * Prints which tests failed, each with its message, and then `N passed, N failed`, from vitest's JSON report and those of
 * other suites (runtimes, training). Fails if a test failed, a file did not load, a report is missing, or a suite ran no
 * test. Of a long log only the end may be kept, so that a failure is told here once more.
 *
 *   node scripts/test-counts.mjs report.json runtimes.json training.json
 */
import { readFileSync } from 'node:fs'

/**
 * @typedef {{ name: string, message: string }} Failure
 * @typedef {{ passed: number, failures: Failure[], skipped: number }} Counts
 */

/** Characters of a long message that are printed. */
const BEGINNING = 3000
const END = 1000

const [file = '', ...otherFiles] = process.argv.slice(2)
const counts = [countsOf(file, ofVitest), ...otherFiles.map((name) => countsOf(name, ofSuite))]
const failures = counts.flatMap(({ failures }) => failures)
for (const { name, message } of failures) console.log(`test-counts: ${name}: ${shorten(message)}`)
const skipped = counts.reduce((sum, { skipped }) => sum + skipped, 0)
if (skipped > 0) console.log(`test-counts: ${skipped} skipped`)
console.log(`${counts.reduce((sum, { passed }) => sum + passed, 0)} passed, ${failures.length} failed`)
if (failures.length > 0) process.exitCode = 1

/**
 * What a report says; one that is not there, or has no test in it, counts as a failure.
 * @param {string} name @param {(report: any) => Counts} read @returns {Counts}
 */
function countsOf(name, read) {
  try {
    const counts = read(JSON.parse(readFileSync(name, 'utf8')))
    if (counts.passed === 0 && counts.failures.length === 0) counts.failures.push({ name, message: 'no test ran' })
    return counts
  } catch (error) {
    const message = `no report of a test run: ${error instanceof Error ? error.message : error}`
    return { passed: 0, failures: [{ name, message }], skipped: 0 }
  }
}

/**
 * @param {{ success: boolean, numPassedTests: number, numPendingTests: number, testResults: { name: string, status: string,
 * message: string, assertionResults: { status: string, fullName: string, failureMessages: string[] }[] }[] }} report
 * @returns {Counts}
 */
function ofVitest({ success, numPassedTests, numPendingTests, testResults }) {
  const failures = testResults.flatMap(({ name, status, message, assertionResults }) => {
    const failed = assertionResults.filter((test) => test.status === 'failed')
    // a file that does not load, or whose hooks fail, has no failed tests: count it as one
    if (status === 'failed' && failed.length === 0) return [{ name: `${name} failed outside its tests`, message }]
    return failed.map(({ fullName, failureMessages }) => ({ name: `${name}: ${fullName}`, message: failureMessages.join('\n') }))
  })
  if (!success && failures.length === 0) failures.push({ name: 'vitest', message: 'it failed outside of all tests' })
  return { passed: numPassedTests, failures, skipped: numPendingTests }
}

/** @param {{ passed: number, failures: Failure[], skipped?: number }} report @returns {Counts} */
function ofSuite({ passed, failures, skipped = 0 }) {
  return { passed, failures, skipped }
}

/** @param {string} message */
function shorten(message) {
  return message.length > BEGINNING + END ? `${message.slice(0, BEGINNING)}\n…\n${message.slice(-END)}` : message
}
