/*
 * Prints the size of the package's tarball, and fails if it exceeds the budget. Runs before `npm publish`.
 *
 *   node scripts/check-size.mjs [budget in bytes]
 */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const budget = Number(process.argv[2] ?? 460_000)
const listing = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
  cwd: fileURLToPath(new URL('..', import.meta.url)),
  encoding: 'utf8',
})
/** @type {[{ size: number, files: { path: string, size: number }[] }]} */
const [{ size, files }] = JSON.parse(listing)
const kilobytes = (/** @type {number} */ bytes) => `${(bytes / 1000).toFixed(1)} kB`
console.log(`the tarball has ${kilobytes(size)} of ${kilobytes(budget)}`)
if (size > budget) {
  const largest = [...files].sort((a, b) => b.size - a.size).slice(0, 5)
  console.error(`over budget; the largest files (unpacked): ${largest.map((file) => `${file.path} ${kilobytes(file.size)}`).join(', ')}`)
  process.exit(1)
}
