/*
 * Prints the sizes of the package, and fails if one exceeds its budget. Runs before `npm publish`.
 *
 *   node scripts/check-size.mjs [budget of the engine in bytes] [budget of the tarball in bytes]
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

/**
 * - The engine is what a page downloads before any weights: `dist/index.js` and all that it imports, gzipped. The budget
 *   is a twentieth of what onnxruntime-web downloads (docs/benchmarks.md).
 * - The tarball has everything for everyone: the engine, its GPU backend, the builds once more as files for hosts that
 *   cannot compile, the command line, the server, the AI SDK's provider, types, source maps, and the documents that the
 *   README links to (a fifth of it). Half a megabyte is what a serverless function should not notice.
 */
const budgets = { engine: 185_000, tarball: 500_000 }
const [engineBudget = budgets.engine, tarballBudget = budgets.tarball] = process.argv.slice(2).map(Number)
const root = fileURLToPath(new URL('..', import.meta.url))

const listing = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root, encoding: 'utf8' })
/** @type {[{ size: number, files: { path: string, size: number }[] }]} */
const [{ size, files }] = JSON.parse(listing)
const engine = [...loadedBy('dist/index.js')].map((path) => ({ path, size: gzipSync(readFileSync(join(root, path))).length }))

check(
  'the engine, gzipped,',
  engine.reduce((sum, file) => sum + file.size, 0),
  engineBudget,
  engine,
)
check('the tarball', size, tarballBudget, files)

/**
 * A file and all that it imports when it is loaded.
 * @param {string} path
 * @returns {Set<string>}
 */
function loadedBy(path, found = new Set()) {
  found.add(path)
  for (const [, specifier] of readFileSync(join(root, path), 'utf8').matchAll(/(?:from|^import)\s*["'](\.[^"']+)["']/gm)) {
    const imported = join(dirname(path), specifier ?? '')
    if (!found.has(imported)) loadedBy(imported, found)
  }
  return found
}

/**
 * @param {string} what
 * @param {number} bytes
 * @param {number} budget
 * @param {readonly { path: string, size: number }[]} parts
 */
function check(what, bytes, budget, parts) {
  console.log(`${what} has ${kilobytes(bytes)} of ${kilobytes(budget)}`)
  if (bytes <= budget) return
  const largest = [...parts].sort((a, b) => b.size - a.size).slice(0, 5)
  console.error(`over budget; the largest files: ${largest.map((file) => `${file.path} ${kilobytes(file.size)}`).join(', ')}`)
  process.exitCode = 1
}

/** @param {number} bytes */
function kilobytes(bytes) {
  return `${(bytes / 1000).toFixed(1)} kB`
}
