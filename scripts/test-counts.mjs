/*
 * Prints which of vitest's tests failed, and `N passed, N failed` from its JSON report and those of other suites
 * (runtimes, training). Fails if a test failed, a file did not load, or a suite ran no test.
 *
 *   node scripts/test-counts.mjs report.json runtimes.json training.json
 */
import { readFileSync } from 'node:fs'

const [file = '', ...otherFiles] = process.argv.slice(2)
/** @type {{ success: boolean, numPassedTests: number, numFailedTests: number, numPendingTests: number, testResults: { name: string, status: string, message: string, assertionResults: { status: string, fullName: string, failureMessages: string[] }[] }[] }} */
let report
/** @type {{ passed: number, failed: number }[]} */
let others
try {
  report = JSON.parse(readFileSync(file, 'utf8'))
  others = otherFiles.map((name) => JSON.parse(readFileSync(name, 'utf8')))
} catch (error) {
  console.error(`test-counts: no report of a test run: ${error instanceof Error ? error.message : error}`)
  console.log('0 passed, 0 failed')
  process.exit(1)
}

for (const { name, assertionResults } of report.testResults)
  for (const { status, fullName, failureMessages } of assertionResults)
    if (status === 'failed') console.error(`test-counts: ${name}: ${fullName}: ${failureMessages.join('\n')}`)
// a file that does not load, or whose hooks fail, has no failed tests: count it as one
const broken = report.testResults.filter(
  ({ status, assertionResults }) => status === 'failed' && assertionResults.every((test) => test.status !== 'failed'),
)
for (const { name, message } of broken) console.error(`test-counts: ${name} failed outside its tests: ${message}`)
if (report.numPendingTests > 0) console.error(`test-counts: ${report.numPendingTests} skipped`)
const sum = (/** @type {'passed' | 'failed'} */ what) => others.reduce((total, counts) => total + counts[what], 0)
const failures = report.numFailedTests + broken.length + sum('failed')
console.log(`${report.numPassedTests + sum('passed')} passed, ${failures} failed`)
if (report.numPassedTests === 0 || others.some(({ passed }) => passed === 0) || failures > 0 || !report.success) process.exit(1)
