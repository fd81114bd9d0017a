// @ts-check
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * Loads @mlc-ai/web-xgrammar in Node. Its file is CommonJS but its package.json declares a module, so that both `import`
 * and `require` fail; a copy with the extension .cjs loads.
 * @returns {typeof import('@mlc-ai/web-xgrammar')}
 */
export function loadXgrammar() {
  const require = createRequire(import.meta.url)
  const folder = mkdtempSync(join(tmpdir(), 'web-xgrammar-'))
  try {
    const copy = join(folder, 'web-xgrammar.cjs')
    copyFileSync(require.resolve('@mlc-ai/web-xgrammar'), copy)
    return require(copy)
  } finally {
    rmSync(folder, { recursive: true })
  }
}
