/*
 * Installs the baselines if they are missing or the lock file has changed. Without install scripts: onnxruntime-node's
 * fails on Node 24, and its package and node-llama-cpp's already contain their binaries.
 */
import { execSync } from 'node:child_process'
import { copyFileSync, existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

process.chdir(fileURLToPath(new URL('.', import.meta.url)))

const lock = 'package-lock.json'
const installed = 'node_modules/.bench-lock.json'
if (!existsSync(installed) || readFileSync(installed, 'utf8') !== readFileSync(lock, 'utf8')) {
  console.error('bench: installing the baselines (about 850 MB)')
  execSync('npm ci --ignore-scripts --no-audit --no-fund', { stdio: ['ignore', 'ignore', 'inherit'] })
  copyFileSync(lock, installed)
}
