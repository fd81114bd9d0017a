// @ts-check
import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

/**
 * Bundles as `wrangler deploy` would.
 * @param {string} entry relative to this example @param {string} out folder
 * @returns the bundled file
 */
export function bundle(entry, out) {
  const wrangler = join(dirname(createRequire(import.meta.url).resolve('wrangler/package.json')), 'bin/wrangler.js')
  execFileSync(process.execPath, [wrangler, 'deploy', entry, '--dry-run', '--outdir', out], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1' },
  })
  return join(out, `${entry.replace(/^.*\//, '')}`)
}
