/*
 * Prints `N passed, N failed` from a JSON report of vitest and the report of the runtime suite; fails when a test failed, a file did not load, or no
 * test ran in either.
 *
 *   node scripts/test-counts.mjs report.json runtimes.json
 */
import { readFileSync } from 'node:fs'

const [file = '', runtimesFile = ''] = process.argv.slice(2)
/** @type {{ success: boolean, numPassedTests: number, numFailedTests: number, numPendingTests: number, testResults: { name: string, status: string, message: string, assertionResults: { status: string }[] }[] }} */
let report
/** @type {{ passed: number, failed: number }} */
let runtimes
try {
  report = JSON.parse(readFileSync(file, 'utf8'))
  runtimes = JSON.parse(readFileSync(runtimesFile, 'utf8'))
} catch (error) {
  console.error(`test-counts: no report of a test run: ${error instanceof Error ? error.message : error}`)
  console.log('0 passed, 0 failed')
  process.exit(1)
}

// A file that does not load, or whose hooks fail, has no failed test of its own: it counts as one.
const broken = report.testResults.filter(
  ({ status, assertionResults }) => status === 'failed' && assertionResults.every((test) => test.status !== 'failed'),
)
for (const { name, message } of broken) console.error(`test-counts: ${name} failed outside its tests: ${message}`)
if (report.numPendingTests > 0) console.error(`test-counts: ${report.numPendingTests} skipped`)
const failures = report.numFailedTests + broken.length + runtimes.failed
console.log(`${report.numPassedTests + runtimes.passed} passed, ${failures} failed`)
if (report.numPassedTests === 0 || runtimes.passed === 0 || failures > 0 || !report.success) process.exit(1)
