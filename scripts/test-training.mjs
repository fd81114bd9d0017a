/*
 * Runs the tests of training/ with the first Python that has PyTorch: $PYTHON, /usr/bin/python3 (Debian's, which another
 * python3 may precede in the path), or python3.
 *
 *   node scripts/test-training.mjs [report.json]
 */
import { spawnSync } from 'node:child_process'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findPython } from '../test/support/python.mjs'

const python = findPython()
if (python === undefined) {
  console.error(
    'test:training needs PyTorch: on Debian, apt-get install python3-torch libopenblas0-pthread; or name a Python that has it in $PYTHON',
  )
  process.exit(1)
}
const reports = process.argv.slice(2).map((file) => resolve(file))
const cwd = fileURLToPath(new URL('../training', import.meta.url))
const { status } = spawnSync(python, ['-m', 'tests', ...reports], { cwd, stdio: 'inherit', env: { ...process.env, OMP_NUM_THREADS: '1' } })
process.exitCode = status ?? 1
